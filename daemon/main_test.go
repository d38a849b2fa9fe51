package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// TestMain lets the test binary be every other process of a test: the daemon that
// a client spawns as `exe daemon run`, a client of another user, an attacker.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test") {
		os.Exit(m.Run())
	}
	var err error
	switch os.Args[1] {
	case "daemon":
		spawned := os.Getenv(wire.ReadyVariable) != ""
		err = runDaemon()
		if spawned { // os.Exit takes the race detector a second, for a report that nobody sees
			syscall.Exit(0)
		}
	case "__rack": // not os.Exit, which takes the race detector a second
		syscall.Exit(source.RackChild(os.Stdin, os.Stdout))
	case "__runner":
		syscall.Exit(source.RunnerChild())
	case "ask":
		err = askRaw(os.Args[2])
	case "read-memory":
		err = readMemory(os.Args[2])
	case "connect":
		err = connectOnce()
	case "echo":
		err = echo(os.Args[2], os.Args[3])
	case "stop":
		err = stopHere()
	case "ask-often":
		err = askOften(os.Args[2:])
	case "ask-as":
		err = askAs(os.Args[2:])
	case "answer":
		err = answerAs(os.Args[2])
	case "hook":
		err = grantAs(Query{Root: os.Args[2], Shell: os.Getpid()})
	case "grant":
		err = grantAs(Query{Root: os.Args[2]})
	default:
		err = errors.New("unknown role")
		if role := platformRoles[os.Args[1]]; role != nil {
			err = role(os.Args[2:])
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// runDaemon is `keyrack daemon run` with the parts of the command that it needs.
// What a test wants to change comes from a file, since nothing else gets through
// the environment.
func runDaemon() error {
	p, err := wire.FindPlace()
	if err != nil {
		return err
	}
	o := Options{Place: p, DataDir: os.Getenv("XDG_DATA_HOME") + "/keyrack", ConfigFile: os.Getenv("XDG_CONFIG_HOME") + "/keyrack/config.toml"}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		o.AuditDir = state + "/keyrack"
	}
	if text, err := os.ReadFile(os.Getenv("XDG_CONFIG_HOME") + "/unused"); err == nil {
		if o.Unused, err = time.ParseDuration(string(text)); err != nil {
			return err
		}
	}
	return Serve(context.Background(), o)
}

// connectOnce starts or finds the daemon and says its pid.
func connectOnce() error {
	p, err := wire.FindPlace()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	answer, err := wire.CallOrStart(p, exe, time.Minute, nil, []byte(wire.VerbPing))
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", answer[1])
	return nil
}

func stopHere() error {
	p, err := wire.FindPlace()
	if err != nil {
		return err
	}
	return Stop(context.Background(), p)
}

// askRaw sends a ping without looking at who listens, and prints the answer.
func askRaw(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	frame, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbPing))
	if err != nil {
		return err
	}
	conn.Write(frame)
	answer, err := wire.ReadFrame(conn, wire.MaxAnswer)
	fmt.Printf("%q %v\n", answer, err)
	return nil
}

// readMemory tries what a process of the same user could, and says what worked.
func readMemory(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	for _, name := range []string{"mem", "maps", "environ", "fd/0", "cwd", "exe"} {
		if f, err := os.Open("/proc/" + pid + "/" + name); err == nil {
			f.Close()
			fmt.Println("opened", name)
		}
	}
	if unix.PtraceAttach(n) == nil {
		fmt.Println("attached")
	}
	fmt.Println("tried as", os.Geteuid())
	return nil
}

// home is a user's places, in a short directory of the test's own.
type home struct {
	dir   string
	place wire.Place
	exe   string
	cred  *syscall.Credential // who runs processes here, nil for this user
}

// newHome points the environment to a fresh home. When the test ends its daemon is
// stopped, and a process or a socket that is left is an error.
func newHome(t testing.TB) *home {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", dir)
	for _, kind := range []string{"RUNTIME_DIR", "DATA_HOME", "CONFIG_HOME", "STATE_HOME"} {
		path := filepath.Join(dir, strings.ToLower(kind[:1]))
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("XDG_"+kind, path)
	}
	h := &home{dir: dir, exe: exe}
	if h.place, err = wire.FindPlace(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.leaveNothing(t) })
	return h
}

func (h *home) leaveNothing(t testing.TB) {
	h.run(t, "stop")
	await(t, "the daemon to be gone", func() bool { return len(h.daemons()) == 0 })
	if _, err := os.Lstat(h.place.Socket); err == nil {
		t.Error("the socket is left")
	}
}

// daemons lists the living processes `daemon run` that use this home, by the name
// of the lock's file among what they have open, or by their environment.
func (h *home) daemons() (pids []int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		if !strings.HasSuffix(string(cmdline), "\x00daemon\x00run\x00") {
			continue
		}
		environ, _ := os.ReadFile(proc + "/environ")
		pid, _ := strconv.Atoi(filepath.Base(proc))
		holder, _ := os.ReadFile(h.place.Lock)
		if strings.Contains(string(environ), h.dir+"/") || strings.TrimSpace(string(holder)) == strconv.Itoa(pid) {
			if _, _, err := processStart(pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// await waits for a condition, without a fixed sleep.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if ok() {
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func (h *home) connect(t testing.TB) *Client {
	t.Helper()
	if _, err := wire.CallOrStart(h.place, h.exe, time.Minute, nil, []byte(wire.VerbPing)); err != nil {
		t.Fatal(err)
	}
	c, err := Connect(context.Background(), h.place, h.exe)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *home) pid(t testing.TB) int {
	t.Helper()
	answer, err := wire.Call(h.place, 10*time.Second, nil, []byte(wire.VerbPing))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(answer[1]))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// run runs this binary in another role, as the home's user, and returns its output.
func (h *home) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", args[0], err, out)
	}
	return string(out)
}

func (h *home) command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.exe, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Dir(h.place.Dir), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.cred}
	return cmd
}

// foreground runs the daemon as a person would by hand, and returns once it
// listens.
func (h *home) foreground(t testing.TB) *exec.Cmd {
	t.Helper()
	cmd := h.command("daemon", "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(unix.SIGTERM); cmd.Wait() })
	await(t, "the daemon to listen", func() bool { return answers(h.place) })
	return cmd
}

// asNobody hands the home over to another user who runs its processes from then
// on. Only root can: as anybody else the home stays this user's, and ok is false.
func (h *home) asNobody(t testing.TB) (ok bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		return false
	}
	h.cred = &syscall.Credential{Uid: 65534, Gid: 65534}
	copied := h.dir + "/exe"
	data, err := os.ReadFile(h.exe)
	if err := errors.Join(err, os.WriteFile(copied, data, 0o755), os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	h.exe = copied
	err = filepath.WalkDir(h.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, 65534, 65534))
	})
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// dialRaw connects without any of the client's care.
func dialRaw(t testing.TB, p wire.Place) net.Conn {
	t.Helper()
	var conn net.Conn
	await(t, "a place in the daemon's queue", func() bool {
		var err error
		conn, err = net.Dial("unix", p.Socket)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// exchange sends text as it is and returns all that comes back.
func exchange(t testing.TB, p wire.Place, text string) string {
	t.Helper()
	conn := dialRaw(t, p)
	if _, err := io.WriteString(conn, text); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
	conn.(*net.UnixConn).CloseWrite()
	answer, _ := io.ReadAll(bufio.NewReader(conn))
	return string(answer)
}

func wantError(t testing.TB, err error, status, text string) *wire.Error {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Message, text) || strings.Contains(e.Message, "\n") {
		t.Fatalf("error %v, want status %s and one line with %q", err, status, text)
	}
	return e
}

func field(text, name string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	return ""
}
