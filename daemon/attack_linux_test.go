package daemon

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests of this file attack the real program, run by one unprivileged user,
// from another process of that user, from a debugger, and from another user. As
// root all of them are made; as anybody else the tests have one user alone.

// built is the real program, built once, or where KEYRACK_TEST_BIN says.
var built = sync.OnceValues(func() ([]byte, error) {
	if dir := os.Getenv("KEYRACK_TEST_BIN"); dir != "" {
		return os.ReadFile(dir + "/keyrack")
	}
	dir, err := os.MkdirTemp("", "krb")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", dir+"/keyrack", "keyrack/cmd/keyrack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building: %w: %s", err, out)
	}
	return os.ReadFile(dir + "/keyrack")
})

// target is a home in which the real program holds a value.
type target struct {
	*home
	keyrack *home // the same, with the real program in place of the test binary
	root    string
	value   []string // in two parts, so that no process has it whole by accident
}

// newTarget makes a worksite with one secret, in the rack and approved.
func newTarget(t *testing.T) *target {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	tg := &target{home: h, root: h.dir + "/w", value: []string{"canary-of-the-", "attacked-7c1f09"}}
	real := h.dir + "/keyrack"
	err = errors.Join(os.Mkdir(tg.root, 0o755), os.WriteFile(real, program, 0o755), os.Chmod(real, 0o755),
		os.WriteFile(tg.root+"/.keyrack.toml", []byte("name = \"acme/api\"\n[secrets]\nA = \"\"\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if !h.asNobody(t) {
		t.Log("not root: no second user is tried")
	}
	k := *h
	k.exe = real
	tg.keyrack = &k
	tg.do(t, "", "rack", "create", "--lock", "none")
	tg.do(t, strings.Join(tg.value, ""), "set", "A")
	tg.do(t, "", "allow")
	tg.do(t, "", "daemon", "stop")
	return tg
}

// call is the real program in the worksite.
func (tg *target) call(args ...string) *exec.Cmd {
	cmd := tg.keyrack.command(args...)
	cmd.Dir = tg.root
	return cmd
}

// do runs the real program and returns what it says.
func (tg *target) do(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := tg.call(args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("keyrack %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// fill has the daemon, started on demand, hold the value, and returns its pid.
func (tg *target) fill(t *testing.T) int {
	t.Helper()
	tg.do(t, "", "exec", "--", "sh", "-c", `test -n "$A"`)
	pid, err := strconv.Atoi(strings.TrimSpace(tg.run(t, "connect")))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// talker is a process that answers lines.
type talker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (h *home) talk(t *testing.T, args ...string) *talker {
	t.Helper()
	cmd := h.command(args...)
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return &talker{cmd, in, bufio.NewReader(out)}
}

func (k *talker) line(t *testing.T) string {
	t.Helper()
	line, err := k.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (k *talker) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// Everything that another process of the user could read is refused; the same
// attacker gets all of it from a process that has not closed itself.
func TestSameUserReadsNothing(t *testing.T) {
	tg := newTarget(t)
	pid := tg.fill(t)
	plain := tg.talk(t, "spin", "nothing")
	plain.line(t)
	control := tg.run(t, "attack", strconv.Itoa(plain.cmd.Process.Pid))
	tries := 0
	for line := range strings.Lines(tg.run(t, "attack", strconv.Itoa(pid))) {
		tries++
		what, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if result != "refused" {
			t.Errorf("%s: %s", what, result)
		}
		if !strings.Contains(control, what+": worked\n") {
			t.Logf("%s can't be tried here, not even on a plain process", what)
		}
	}
	if tries < 25 {
		t.Errorf("only %d attacks were tried", tries)
	}
}

// Debuggers get no further than the system calls that they use.
func TestDebuggersAreRefused(t *testing.T) {
	tg := newTarget(t)
	pid := strconv.Itoa(tg.fill(t))
	for _, tool := range [][]string{
		{"gdb", "-nx", "-batch", "-ex", "info registers", "-p", pid},
		{"gcore", "-o", tg.dir + "/core", pid},
		{"strace", "-o", "/dev/null", "-p", pid},
	} {
		path, err := exec.LookPath(tool[0])
		if err != nil {
			t.Fatalf("%s is not installed: %v", tool[0], err)
		}
		cmd := tg.command(tool[1:]...)
		cmd.Path, cmd.Args, cmd.Dir = path, tool, tg.dir
		out, _ := cmd.CombinedOutput()
		if !bytes.Contains(out, []byte("Operation not permitted")) || bytes.Contains(out, []byte("rip ")) {
			t.Errorf("%s: %s", tool[0], out)
		}
	}
	if cores, _ := filepath.Glob(tg.dir + "/core*"); len(cores) > 0 {
		t.Errorf("gcore wrote %q", cores)
	}
	if now := tg.run(t, "connect"); strings.TrimSpace(now) != pid {
		t.Errorf("daemon %s is gone, there is %s", pid, now)
	}
}

// starts is how often a daemon is started under attack, and controls how often a
// program that does not start like one.
const (
	starts   = 40
	controls = 10
)

// An attacker that waits for the daemon to start, and opens its memory before it
// closes itself, is always too late: there is no before. Of a program that closes
// itself in main the same attacker reads the value.
func TestSpinningAttackerIsTooLate(t *testing.T) {
	tg := newTarget(t)
	attacker := tg.talk(t, append([]string{"spin"}, tg.value...)...)
	attacker.line(t) // ready
	check := func(pid string) (tries, opened, found int) {
		attacker.say(t, pid)
		if _, err := fmt.Sscanf(attacker.line(t), "tries %d opened %d found %d", &tries, &opened, &found); err != nil {
			t.Fatal(err)
		}
		return tries, opened, found
	}
	caught := 0
	for range controls {
		prey := tg.talk(t, append([]string{"victim", "daemon", "run"}, tg.value...)...)
		if _, _, found := check(prey.line(t)); found > 0 {
			caught++
		}
		prey.say(t, "")
		prey.cmd.Wait()
	}
	t.Logf("of a program that closes itself in main the value was read in %d of %d starts", caught, controls)
	if caught == 0 {
		t.Error("the attack can do nothing: it proves nothing")
	}
	tried, got := 0, 0
	for n := range starts {
		// A client waits two seconds, which a machine under this attack may need.
		await(t, "the daemon to start", func() bool { return tg.call("exec", "--", "true").Run() == nil })
		tries, opened, found := check(strings.TrimSpace(tg.run(t, "connect")))
		tried, got = tried+tries, got+opened
		if found > 0 {
			t.Errorf("start %d: %d of %d descriptors read the value", n, found, opened)
		}
		tg.do(t, "", "daemon", "stop")
	}
	t.Logf("in %d starts of the daemon its memory was tried %d times and opened %d times", starts, tried, got)
	if tried == 0 {
		t.Error("the attack missed the daemon: it proves nothing")
	}
}

// Under a tracer there is one line and no daemon.
func TestTracedDaemonDoesNotStart(t *testing.T) {
	tg := newTarget(t)
	real := tg.keyrack.exe
	for name, tool := range map[string][]string{
		"strace":        {"strace", "-f", "-o", "/dev/null", real, "daemon", "run"},
		"strace client": {"strace", "-f", "-o", "/dev/null", real, "exec", "--", "env"},
		"gdb":           {"gdb", "-nx", "-batch", "-ex", "run", "--args", real, "daemon", "run"},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(tool[0])
			if err != nil {
				t.Fatalf("%s is not installed: %v", tool[0], err)
			}
			cmd := tg.call(tool[1:]...)
			cmd.Path, cmd.Args = path, tool
			out, _ := cmd.CombinedOutput()
			if strings.Count(string(out), "being traced by \""+tool[0]+"\"") != 1 || strings.Contains(string(out), tg.value[1]) {
				t.Errorf("it says %s", out)
			}
			if left := tg.daemons(); len(left) > 0 {
				t.Errorf("daemons are left: %d", left)
			}
		})
	}
}

// A daemon that dies leaves no core, no stack and no value, wherever it is told to
// die.
func TestCrashTellsNothing(t *testing.T) {
	tg := newTarget(t)
	for _, signal := range []syscall.Signal{unix.SIGSEGV, unix.SIGQUIT, unix.SIGABRT, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS} {
		t.Run(signal.String(), func(t *testing.T) {
			before := tg.cores()
			said := &bytes.Buffer{}
			cmd := tg.call("-c", `ulimit -c unlimited; exec "$0" daemon run`, tg.keyrack.exe)
			cmd.Path, cmd.Args[0] = "/bin/sh", "sh"
			cmd.Stdout, cmd.Stderr = said, said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, "the daemon to listen", func() bool { return answers(tg.place) })
			if pid := tg.fill(t); pid != cmd.Process.Pid {
				t.Fatalf("process %d holds the value, not the one that was started", pid)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			ended := cmd.Wait()
			text := said.String()
			if strings.Contains(text, tg.value[0]) || strings.Contains(text, tg.value[1]) || strings.Contains(text, "goroutine ") || strings.Contains(text, "rip ") {
				t.Errorf("it dies with %d bytes that hold a value or a stack", len(text))
			}
			if state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || state.CoreDump() {
				t.Errorf("it dumped core: %v", ended)
			}
			if after := tg.cores(); strings.Join(after, " ") != strings.Join(before, " ") {
				t.Errorf("there are cores: %q, before %q", after, before)
			}
		})
	}
	tg.fill(t) // takes over the socket that the last one left
}

// cores are the files that could be cores, where a process of tg could leave one.
func (tg *target) cores() (found []string) {
	for _, dir := range []string{"/", tg.root, tg.dir, tg.place.Dir, "/tmp"} {
		names, _ := filepath.Glob(dir + "/core*")
		found = append(found, names...)
	}
	return found
}
