package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
)

// rootMarker is what the values of these tests are made of, over and over: a piece
// that is left of one shows it, too.
var rootMarker = strings.Join([]string{"6b1e-of-root-", "canary-93d7"}, "")

// Root reads all of the daemon's memory, by itself and with gcore, while values
// come, stay, end and are locked away. It finds none, neither in secret memory, which
// it can't read, nor, where there is none, in what is sealed; and where nothing is
// sealed either, none that has ended.
func TestRootFindsNoValue(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("not root: this test reads the memory of another user's process")
	}
	t.Run("secret memory", func(t *testing.T) { rootLooks(t, arena.Secret, true, nil) })
	t.Run("locked memory", func(t *testing.T) { rootLooks(t, arena.Locked, true, []denial{noSecretMemory}) })
	t.Run("locked memory, no keys", func(t *testing.T) {
		rootLooks(t, arena.Locked, false, append([]denial{noSecretMemory}, noKeys...))
	})
}

// rootLooks goes through the life of two values, a short one and one that is longer
// than any buffer, and has root look after each step.
func rootLooks(t *testing.T, kind arena.Kind, sealed bool, refused []denial) {
	tg := newTarget(t)
	cmd := tg.without(refused, "daemon", "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(unix.SIGTERM); cmd.Wait() })
	await(t, "the daemon to listen", func() bool { return answers(tg.place) })
	root := &looker{t: t, pid: cmd.Process.Pid, control: tg.dir + "/c/keyrack/config.toml", secret: kind == arena.Secret}
	if d := tg.status(t).Daemon; d.Memory != string(kind) || (len(d.Weak) == 0) != sealed {
		t.Fatalf("its memory is %s, not in force %q", d.Memory, d.Weak)
	}
	tg.life(t, `ttl = "1h"`)
	tg.do(t, rootMarker, "set", "A")
	tg.do(t, strings.Repeat(rootMarker, 4000), "set", "B")
	root.looks("set", false)
	tg.do(t, "", "get", "B")
	root.looks("get", false)
	tg.do(t, "", "exec", "--", "true")
	root.looks("held", kind != arena.Secret && !sealed) // or nothing would show that it looks where they are
	tg.rings(t)
	root.looks("rung for", kind != arena.Secret && !sealed)
	tg.do(t, "", "lock")
	root.looks("lock", false)
	tg.do(t, "", "unlock")
	tg.life(t, `ttl = "1s"`)
	tg.do(t, "", "exec", "--", "true")
	await(t, "the values to end", func() bool { return tg.held(t) == 0 })
	root.looks("expiry", false)
	tg.do(t, "", "exec", "--", "sh", "-c", `test "${#A}" -gt 0`)
}

// life makes and approves the worksite that has both values, with a line about how long.
func (tg *target) life(t *testing.T, line string) {
	t.Helper()
	text := "name = \"acme/api\"\n" + line + "\n[secrets]\nA = \"\"\nB = \"\"\n"
	if err := os.WriteFile(tg.root+"/.keyrack.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tg.do(t, "", "allow")
}

// rings has a bash that rings get the short value, in a worksite that has no other.
func (tg *target) rings(t *testing.T) {
	t.Helper()
	near := tg.root + "/near"
	err := errors.Join(os.Mkdir(near, 0o755), os.WriteFile(near+"/.keyrack.toml", []byte("name = \"acme/api\"\n[secrets]\nA = \"\"\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	tg.own(t, near, near+"/.keyrack.toml")
	for _, args := range [][]string{{"allow"}, {"exec", "--", "true"}} {
		cmd := tg.call(args...)
		cmd.Dir = near
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("keyrack %s: %v: %s", args[0], err, out)
		}
	}
	cmd := exec.Command("bash", "-c", ringer, "bash", tg.place.Asks, hookAsks(near))
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: tg.cred}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(" __keyrack_put A '"+rootMarker+"'\n")) {
		t.Fatalf("ringing: %v, %d bytes", err, len(out))
	}
}

func (tg *target) status(t *testing.T) (s Status) {
	t.Helper()
	cmd := tg.call("status", "--json")
	text, _ := cmd.Output() // whose code tells of what is missing
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("status: %v: %s", err, text)
	}
	return s
}

func (tg *target) held(t *testing.T) (n int) {
	for _, s := range tg.status(t).Secrets {
		if s.Held {
			n++
		}
	}
	return n
}

// looker is root, who looks at process pid. control is something in the heap of the
// process that is no secret and has to be found.
type looker struct {
	t       *testing.T
	pid     int
	control string
	secret  bool // it has secret memory
}

// looks compares whether values are found with want. A core never has one: even
// memory that root can read is left out of it.
func (l *looker) looks(when string, want bool) {
	l.t.Helper()
	l.check(when+": in /proc/PID/mem", want, l.inMemory())
	l.check(when+": in a core", false, l.inCore())
}

func (l *looker) check(where string, want bool, seen sight) {
	l.t.Helper()
	if seen.controls == 0 {
		l.t.Fatalf("%s root does not even find what is no secret", where)
	}
	if (seen.values > 0) != want {
		l.t.Errorf("%s root finds %d pieces of values", where, seen.values)
	}
}

// sight is how often something was seen.
type sight struct{ values, controls int }

// through adds what r has, piece by piece: what it reads lies in no memory whole.
func (s *sight) through(l *looker, r io.Reader, buf []byte) {
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		text := buf[:kept+n]
		s.values += bytes.Count(text, []byte(rootMarker))
		s.controls += bytes.Count(text, []byte(l.control))
		if err != nil {
			return
		}
		kept = copy(buf, text[len(text)-len(l.control):])
	}
}

// inMemory reads every mapping that the process could read. Secret memory must be
// refused.
func (l *looker) inMemory() (seen sight) {
	l.t.Helper()
	dir := "/proc/" + strconv.Itoa(l.pid)
	maps, err := os.ReadFile(dir + "/maps")
	mem, err2 := os.Open(dir + "/mem")
	if err := errors.Join(err, err2); err != nil {
		l.t.Fatal(err)
	}
	defer mem.Close()
	refused := 0
	buf := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
			l.t.Fatal(err)
		}
		if perms[0] != 'r' {
			continue
		}
		part := io.NewSectionReader(mem, int64(from), int64(to-from))
		if strings.Contains(line, "/secretmem") {
			if _, err := part.Read(buf[:1]); !errors.Is(err, unix.EIO) {
				l.t.Errorf("reading secret memory: %v", err)
			}
			refused++
		}
		seen.through(l, part, buf)
	}
	if (refused > 0) != l.secret {
		l.t.Errorf("there are %d mappings of secret memory", refused)
	}
	return seen
}

// inCore reads a core that gcore writes.
func (l *looker) inCore() (seen sight) {
	l.t.Helper()
	path := l.t.TempDir() + "/core"
	out, err := exec.Command("gcore", "-o", path, strconv.Itoa(l.pid)).CombinedOutput()
	if err != nil {
		l.t.Fatalf("gcore: %v: %s", err, out)
	}
	path += "." + strconv.Itoa(l.pid)
	core, err := os.Open(path)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		l.t.Fatal(err)
	}
	defer core.Close()
	seen.through(l, core, make([]byte, 1<<20))
	return seen
}
