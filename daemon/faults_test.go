package daemon

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// stocked makes a home whose real daemon serves n worksites, each with a value of
// its own, and returns their roots.
func stocked(t testing.TB, n int) (*rig, []string) {
	t.Helper()
	r := newRig(t, "none", nil)
	if err := r.cache.Close(); err != nil { // a process takes its place
		t.Fatal(err)
	}
	r.agent = r.connect(t)
	roots := make([]string, n)
	for i := range roots {
		name := fmt.Sprintf("acme/s%d", i)
		roots[i] = fmt.Sprintf("%s/s%d", r.dir, i)
		makeSite(t, r.store(), roots[i], name)
		if err := r.agent.Set(t.Context(), name, "A", []byte(valueOf(i))); err != nil {
			t.Fatal(err)
		}
	}
	return r, roots
}

func makeSite(t testing.TB, store worksite.Store, root, name string) {
	t.Helper()
	makeSiteOf(t, store, root, name, "A = \"\"\n")
}

// makeSiteOf is makeSite with these secrets.
func makeSiteOf(t testing.TB, store worksite.Store, root, name, secrets string) {
	t.Helper()
	text := fmt.Sprintf("name = %q\n[secrets]\n", name) + secrets
	if err := errors.Join(unix.Mkdir(root, 0o700), writeFile(root+"/.keyrack.toml", text)); err != nil {
		t.Fatal(err)
	}
	site, err := worksite.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Allow(site); err != nil {
		t.Fatal(err)
	}
}

func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

func valueOf(i int) string { return fmt.Sprintf("made-up-%d-%s", i, strings.Repeat("v", i%50)) }

// askFor gets the grant of site i as a client does, starting a daemon where none
// runs, and says whether it had its value. Anything but that or an error is wrong.
func askFor(t testing.TB, r *rig, root string, i int) bool {
	answer, err := wire.CallOrStart(r.place, r.exe, 20*time.Second, nil, []byte(wire.VerbGrant), []byte(root))
	if err != nil {
		return false
	}
	defer wire.Wipe(answer)
	grant, err := wire.ParseGrant(answer)
	if err != nil || grant.Status != wire.OK {
		return false
	}
	if len(grant.Vars) != 1 || string(grant.Vars[0].Value) != valueOf(i) {
		t.Errorf("client %d has %d variables, and not its own value", i, len(grant.Vars))
	}
	return true
}

// A daemon that is killed at any moment costs a client an error at most: never
// another's value, and the next request has an answer.
func TestKilledAtAnyMoment(t *testing.T) {
	r, roots := stocked(t, 8)
	var clients sync.WaitGroup
	var answers, failures atomic.Int64
	done := make(chan struct{})
	for i, root := range roots {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if askFor(t, r, root, i) {
					answers.Add(1)
				} else {
					failures.Add(1)
				}
			}
		})
	}
	for range 12 {
		before := answers.Load()
		await(t, "an answer after the last kill", func() bool { return answers.Load() > before+4 })
		for _, pid := range r.daemons() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	close(done)
	clients.Wait()
	t.Logf("%d answers, %d errors over 12 kills", answers.Load(), failures.Load())
	if !askFor(t, r, roots[0], 0) {
		t.Error("after the last kill there is no answer")
	}
}

// With no descriptor left, a client that has sent nothing makes room for one that asks.
func TestDescriptorsUsedUp(t *testing.T) {
	h := newHome(t)
	cmd := exec.Command("sh", "-c", `ulimit -n 48 && exec "$0" daemon run`, h.exe)
	cmd.Env = h.command("daemon", "run").Env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(unix.SIGTERM); cmd.Wait() })
	await(t, "the daemon to listen", func() bool { return answers(h.place) })
	pid := h.pid(t)
	for range 200 {
		dialRaw(t, h.place)
	}
	for range 20 {
		if got := h.pid(t); got != pid {
			t.Fatalf("process %d answers, not %d", got, pid)
		}
	}
}

// Five hundred clients at once all have their own answer, from one daemon.
func TestFiveHundredClients(t *testing.T) {
	r, roots := stocked(t, 10)
	pid := r.pid(t)
	var clients sync.WaitGroup
	var answered atomic.Int64
	for n := range 500 {
		clients.Go(func() {
			if i := n % len(roots); askFor(t, r, roots[i], i) {
				answered.Add(1)
			}
		})
	}
	clients.Wait()
	if answered.Load() != 500 || r.pid(t) != pid {
		t.Errorf("%d of 500 have an answer", answered.Load())
	}
}

// FuzzRequest holds that the server answers any bytes with a frame or with
// nothing, quotes none of them, and answers the next client.
func FuzzRequest(f *testing.F) {
	const marker = "zz-marker-zz"
	for _, seed := range []string{"", "x", "0\n", "4294967296\n", "7\n1\x00ping\x00", "12\n1\x00hook\x00/\x001\x00", "9\n1\x00stopx\x00\x00",
		"30\n1\x00set\x00a\x00A\x00" + marker + "\x00xxxxx\x00", "5\n9\x00ls\x00", "\x00\x00\x00", strings.Repeat("9", 100)} {
		f.Add(seed, seed)
	}
	r := newRig(f, "none", nil)
	r.overSocket()
	f.Fuzz(func(t *testing.T, head, tail string) {
		if strings.Contains(head+tail, "stop") { // which does what it says
			return
		}
		answer := exchange(t, r.place, head+marker+tail)
		if strings.Contains(answer, marker) {
			t.Error("the answer quotes the request")
		}
		if answer != "" {
			if _, err := wire.ReadFrame(strings.NewReader(answer), wire.MaxAnswer); err != nil {
				t.Errorf("the answer is no frame: %v", err)
			}
		}
		if _, err := wire.Call(r.place, 10*time.Second, nil, []byte(wire.VerbPing)); err != nil {
			t.Errorf("no answer afterwards: %v", err)
		}
	})
}
