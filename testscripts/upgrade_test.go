package testscripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// installed is a home with keyrack in it, in one version after the other, and a
// worksite with one secret, A.
type installed struct {
	dir, root string
	env       []string
}

// value is A. It is made up here.
const value = "canary-upgrade-A-0123456789abcdef"

// newInstalled makes a home in which the program is the keyrack that from names.
func newInstalled(t *testing.T, from string) *installed {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &installed{dir: dir, root: dir + "/w"}
	h.env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir+"/run", "PATH="+dir+"/bin:"+os.Getenv("PATH"))
	for _, kind := range []string{"DATA", "CONFIG", "STATE"} {
		h.env = append(h.env, "XDG_"+kind+"_HOME=")
	}
	if err := errors.Join(os.Mkdir(dir+"/run", 0o700), os.Mkdir(dir+"/bin", 0o700), os.Mkdir(h.root, 0o700)); err != nil {
		t.Fatal(err)
	}
	h.upgrade(t, from)
	t.Cleanup(func() { h.keyrack(t, "daemon", "stop") })
	if err := os.WriteFile(h.root+"/.keyrack.toml", []byte("name = \"acme/api\"\n[secrets]\nA = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.keyrack(t, "rack", "create", "--lock", "none")
	set := h.command("set", "A")
	set.Stdin = strings.NewReader(value)
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("set: %v: %s", err, out)
	}
	h.keyrack(t, "allow")
	return h
}

// upgrade puts another version in place, as a package manager does: by a rename.
// Another process copies it: a client that is started meanwhile would have inherited
// the open file, and nobody could run it.
func (h *installed) upgrade(t *testing.T, from string) {
	t.Helper()
	next := h.dir + "/bin/next"
	if out, err := exec.Command("cp", from, next).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Rename(next, h.dir+"/bin/keyrack"); err != nil {
		t.Fatal(err)
	}
}

func (h *installed) command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.dir+"/bin/keyrack", args...)
	cmd.Dir, cmd.Env = h.root, h.env
	return cmd
}

func (h *installed) keyrack(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.command(args...).Output()
	if err != nil {
		told := ""
		if failure, ok := errors.AsType[*exec.ExitError](err); ok {
			told = string(failure.Stderr)
		}
		t.Fatalf("keyrack %s: %v: %s", strings.Join(args, " "), err, told)
	}
	return string(out)
}

// daemon is the version and the pid of the daemon that answers.
func (h *installed) daemon(t *testing.T) (version string, pid int) {
	t.Helper()
	var s struct {
		Daemon struct {
			PID     int
			Version string
		}
	}
	if err := json.Unmarshal([]byte(h.keyrack(t, "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Daemon.Version, s.Daemon.PID
}

// ask asks for the secret as a command does, or as the hook of a shell.
func (h *installed) ask(client int) error {
	cmd := h.command("exec", "--", "sh", "-c", "echo A=$A")
	if client%2 == 1 {
		cmd = h.command("__hook", "bash", h.root, fmt.Sprint(os.Getpid()))
	}
	var told strings.Builder
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err == nil && !strings.Contains(string(out), value) {
		err = errors.New("no value")
	}
	if err != nil {
		return fmt.Errorf("client %d: %w: %s%s", client, err, mask(told.String()), mask(string(out)))
	}
	return nil
}

// buildVersion builds keyrack in a version of its own, speaking the protocol given.
func buildVersion(t *testing.T, version, protocol string) string {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs("../daemon/wire/wire.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const is = "const Version = \"1\"\n"
	changed := strings.Replace(string(text), is, strings.Replace(is, "1", protocol, 1), 1)
	if !strings.Contains(string(text), is) {
		t.Fatal("the protocol's version is not where it was")
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: dir + "/wire.go"}})
	if err := errors.Join(err, os.WriteFile(dir+"/wire.go", []byte(changed), 0o600), os.WriteFile(dir+"/overlay", overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", dir+"/overlay", "-ldflags", "-X keyrack/cmd.release="+version, "-o", dir+"/keyrack", "keyrack/cmd/keyrack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return dir + "/keyrack"
}

// 20 clients come all the time while the daemon is replaced 5 times, by one of
// another version: none of them fails, or waits for more than 2 seconds.
func TestUpgrade(t *testing.T) {
	versions := []string{buildVersion(t, "v1.0.0", "1"), buildVersion(t, "v1.1.0", "1")}
	h := newInstalled(t, versions[0])
	var done atomic.Bool
	var answers, slowest atomic.Int64
	var clients sync.WaitGroup
	defer clients.Wait()
	defer done.Store(true)
	for i := range 20 {
		clients.Go(func() {
			for !done.Load() {
				began := time.Now()
				if err := h.ask(i); err != nil {
					t.Error(err)
				}
				answers.Add(1)
				slowest.Store(max(slowest.Load(), int64(time.Since(began))))
			}
		})
	}
	for round := range 5 {
		version := fmt.Sprintf("keyrack v1.%d.0", (round+1)%2)
		h.upgrade(t, versions[(round+1)%2])
		h.keyrack(t, "daemon", "stop")
		if got, _ := h.daemon(t); !strings.HasPrefix(got, version) {
			t.Errorf("round %d: the daemon is %s, not %s", round, got, version)
		}
		before := answers.Load()
		if !eventually(patience, func() bool { return answers.Load() >= before+40 }) {
			t.Errorf("round %d: the clients get no answers", round)
		}
	}
	t.Logf("%d answers, the slowest after %s", answers.Load(), time.Duration(slowest.Load()).Round(time.Millisecond))
}

// A daemon of an older protocol is replaced by the first of many clients that come
// at once, and no other client notices.
func TestUpgradeOfProtocol(t *testing.T) {
	older, newer := buildVersion(t, "v1.0.0", "1"), buildVersion(t, "v2.0.0", "2")
	h := newInstalled(t, older)
	_, was := h.daemon(t)
	h.upgrade(t, newer)
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			if err := h.ask(i); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	version, pid := h.daemon(t)
	if !strings.HasPrefix(version, "keyrack v2.0.0 ") || pid == was {
		t.Errorf("the daemon is %s, pid %d after %d", version, pid, was)
	}
	if starts := strings.Count(h.keyrack(t, "log", "--event", "start"), "\n"); starts != 2 {
		t.Errorf("%d daemons were started", starts)
	}
}
