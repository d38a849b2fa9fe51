package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
)

func TestStartedOnDemand(t *testing.T) {
	h := newHome(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "MARKER")
	first := h.connect(t)
	pid := h.pid(t)
	s, err := first.Status(t.Context(), "")
	if err != nil || s.Daemon.PID != pid {
		t.Fatalf("pid %d, status %+v, %v", pid, s, err)
	}
	if s.Daemon.Scope != h.place.Scope || s.Daemon.Memory != bestMemory(t) || s.Daemon.Version != Version || s.Locked {
		t.Errorf("status %+v", s)
	}
	if h.connect(t); h.pid(t) != pid {
		t.Error("a second client has another daemon")
	}
	if ppid := parent(t, pid); ppid == os.Getpid() {
		t.Error("the daemon is a child of its client")
	}
	if _, err := os.Stat(h.place.Generation); err != nil {
		t.Error(err)
	}
}

// bestMemory is the kind of memory that a daemon gets here.
func bestMemory(t *testing.T) string {
	t.Helper()
	a, err := arena.New(false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	return string(a.Kind())
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	ppid, err := strconv.Atoi(field(string(text), "PPid:"))
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}

func TestFiftyAtOnceLeaveOneDaemon(t *testing.T) {
	h := newHome(t)
	pids := make([]string, 50)
	var clients sync.WaitGroup
	for i := range pids {
		clients.Go(func() {
			out, err := h.command("connect").CombinedOutput()
			if err != nil {
				t.Errorf("client %d: %v: %s", i, err, out)
			}
			pids[i] = string(out)
		})
	}
	clients.Wait()
	for i, pid := range pids {
		if pid != pids[0] {
			t.Errorf("client %d has daemon %q, client 0 has %q", i, pid, pids[0])
		}
	}
	await(t, "one daemon to be left", func() bool { return len(h.daemons()) == 1 })
}

// The race of daemons that were all started by hand: the losers say so.
func TestManyDaemonsLeaveOne(t *testing.T) {
	h := newHome(t)
	h.foreground(t)
	pid := h.pid(t)
	for range 5 {
		out, err := h.command("daemon", "run").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another daemon is running (pid "+strconv.Itoa(pid)+")") {
			t.Errorf("a second daemon: %v: %s", err, out)
		}
	}
	if h.pid(t) != pid {
		t.Error("the first daemon lost its socket")
	}
}

// With the lock's file gone a second daemon gets a lock of its own, and still
// leaves the living socket alone.
func TestLiveSocketIsNeverRemoved(t *testing.T) {
	h := newHome(t)
	h.foreground(t)
	pid := h.pid(t)
	if err := os.Remove(h.place.Lock); err != nil {
		t.Fatal(err)
	}
	out, err := h.command("daemon", "run").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another daemon is running") {
		t.Errorf("a second daemon: %v: %s", err, out)
	}
	if h.pid(t) != pid {
		t.Error("the first daemon lost its socket")
	}
}

func TestKilledDaemonIsReplaced(t *testing.T) {
	h := newHome(t)
	cmd := h.foreground(t)
	old := h.pid(t)
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Lstat(h.place.Socket); err != nil {
		t.Fatalf("there is no stale socket to test with: %v", err)
	}
	_, err := Connect(t.Context(), h.place, "")
	wantError(t, err, wire.Unavailable, "no daemon is running")
	h.connect(t)
	if h.pid(t) == old {
		t.Error("the dead daemon answers")
	}
}

func TestHungDaemonCostsOneLine(t *testing.T) {
	h := newHome(t)
	cmd := h.foreground(t)
	pid := h.pid(t)
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "the daemon to stand still", func() bool { return processState(t, pid) == "T" })
	began := time.Now()
	_, err := Connect(t.Context(), h.place, h.exe)
	took := time.Since(began)
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	e := wantError(t, err, wire.Unavailable, "does not answer")
	if e.Hint != "kill -KILL "+strconv.Itoa(pid) {
		t.Errorf("hint %q", e.Hint)
	}
	if took > 20*time.Second {
		t.Errorf("gave up after %s", took)
	}
	if h.pid(t) != pid {
		t.Error("the daemon was replaced")
	}
}

// processState is the letter that the kernel has for what pid does.
func processState(t testing.TB, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	return field(string(text), "State:")[:1]
}

func TestSignalsEndItCleanly(t *testing.T) {
	for _, signal := range []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		t.Run(signal.String(), func(t *testing.T) {
			h := newHome(t)
			cmd := h.foreground(t)
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the daemon ended with %v", err)
			}
			for _, path := range []string{h.place.Socket, h.place.Generation} {
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
		})
	}
}

func TestStopEndsIt(t *testing.T) {
	h := newHome(t)
	cmd := h.foreground(t)
	if err := Stop(t.Context(), h.place); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if err := Stop(t.Context(), h.place); err != nil {
		t.Errorf("stopping nothing: %v", err)
	}
}

// A stop and a new start at once, as an upgrade does: no client is left without.
func TestStopAndStart(t *testing.T) {
	h := newHome(t)
	for range 5 {
		h.connect(t)
		if err := Stop(t.Context(), h.place); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnusedDaemonLeaves(t *testing.T) {
	h := newHome(t)
	if err := os.WriteFile(h.dir+"/c/unused", []byte("300ms"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := h.foreground(t)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if _, err := os.Lstat(h.place.Socket); err == nil {
		t.Error("the socket is left")
	}
}

// Whatever the umask, nobody ever sees a socket that is open to others.
func TestSocketModeUnderUmask0(t *testing.T) {
	h := newHome(t)
	defer unix.Umask(unix.Umask(0))
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, path := range []string{h.place.Dir, h.place.Socket, h.place.Lock, h.place.Generation} {
				if info, err := os.Lstat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %o", path, info.Mode().Perm())
					return
				}
			}
		}
	})
	for range 10 {
		h.connect(t)
		info, err := os.Lstat(h.place.Socket)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v", info, err)
		}
		if err := Stop(t.Context(), h.place); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	watcher.Wait()
}

func TestBadRuntimeDirectory(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"0777":    func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"symlink": func(dir string) error { return errors.Join(os.Mkdir(dir+"2", 0o700), os.Symlink(dir+"2", dir)) },
		"file":    func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			t.Cleanup(func() { os.RemoveAll(h.place.Dir) })
			if err := spoil(h.place.Dir); err != nil {
				t.Fatal(err)
			}
			_, err := Connect(t.Context(), h.place, h.exe)
			wantError(t, err, wire.Unavailable, "refused")
			out, err := h.command("daemon", "run").CombinedOutput()
			if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "refused") {
				t.Errorf("the daemon: %v: %s", err, out)
			}
		})
	}
}

func TestLongSocketPath(t *testing.T) {
	h := newHome(t)
	long := h.dir + "/" + strings.Repeat("r", 120)
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", long)
	var err error
	if h.place, err = wire.FindPlace(); err != nil {
		t.Fatal(err)
	}
	h.connect(t)
}

// The daemon has no core, no directory and no environment of its starter's, and
// standard files that go nowhere.
func TestProcessIsHardened(t *testing.T) {
	h := newHome(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "MARKER")
	nobody := h.asNobody(t)
	pid := strings.TrimSpace(h.run(t, "connect"))
	proc := "/proc/" + pid
	limits, err := os.ReadFile(proc + "/limits")
	if err != nil || !strings.HasPrefix(field(string(limits), "Max core file size"), "0 0") {
		t.Errorf("core limit: %v", err)
	}
	out := h.run(t, "read-memory", pid)
	if !strings.Contains(out, "tried as") || strings.Contains(out, "opened") || strings.Contains(out, "attached") {
		t.Errorf("another process of the same user: %s", out)
	}
	if !nobody { // root alone may look further
		return
	}
	for link, want := range map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/1": "/dev/null", "fd/2": "/dev/null"} {
		if got, err := os.Readlink(proc + "/" + link); err != nil || got != want {
			t.Errorf("%s is %s, %v", link, got, err)
		}
	}
	environ, err := os.ReadFile(proc + "/environ")
	if err != nil || strings.Contains(string(environ), "MARKER") {
		t.Errorf("the environment: %v", err)
	}
}

// Clients that send nothing, or a byte now and then, are dropped, and hold nobody
// up.
func TestSlowClientsAreDropped(t *testing.T) {
	h := newHome(t)
	h.connect(t)
	began := time.Now()
	var clients sync.WaitGroup
	for name, text := range map[string]string{"silent": "", "slow": "20\n1\x00ping\x00"} {
		conn := dialRaw(t, h.place)
		clients.Go(func() {
			for {
				if len(text) > 0 {
					if _, err := io.WriteString(conn, text[:1]); err != nil {
						break
					}
					text = text[1:]
				}
				conn.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
			}
			if took := time.Since(began); took < 4*time.Second || took > 20*time.Second {
				t.Errorf("the %s client was dropped after %s", name, took)
			}
		})
	}
	h.pid(t)
	clients.Wait()
}

// Two thousand clients that say nothing: others are answered, and the memory that
// they take is bounded.
func TestManyIdleClients(t *testing.T) {
	h := newHome(t)
	h.connect(t)
	pid := h.pid(t)
	before := resident(t, pid)
	for n := range 2000 {
		dialRaw(t, h.place)
		if n%500 == 499 && h.pid(t) != pid {
			t.Errorf("with %d idle clients another daemon answers", n+1)
		}
	}
	if grown := resident(t, pid) - before; grown > 64<<20 {
		t.Errorf("the daemon grew by %d bytes", grown)
	}
}

// A header is a promise that costs the daemon nothing.
func TestPromisedFramesTakeNoMemory(t *testing.T) {
	h := newHome(t)
	h.connect(t)
	pid := h.pid(t)
	before := resident(t, pid)
	for _, text := range []string{"4294967296\n", "1048576\nx"} {
		for range 200 {
			exchange(t, h.place, text)
		}
	}
	if grown := resident(t, pid) - before; grown > 32<<20 {
		t.Errorf("the daemon grew by %d bytes", grown)
	}
	if h.pid(t) != pid {
		t.Error("the daemon died")
	}
}

// resident is the memory of pid that is in RAM, in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kb, err := strconv.Atoi(strings.TrimSuffix(field(string(text), "VmRSS:"), " kB"))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func TestVersions(t *testing.T) {
	h := newHome(t)
	h.connect(t)
	frame := func(fields ...string) string {
		var all [][]byte
		for _, f := range fields {
			all = append(all, []byte(f))
		}
		text, err := wire.Encode(all...)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, version := range []string{"0", "2", "99"} {
		if got := exchange(t, h.place, frame(version, wire.VerbHook, "/", "")); !strings.Contains(got, "1\x00version\x00") {
			t.Errorf("version %s: %q", version, got)
		}
		if got := exchange(t, h.place, frame(version, wire.VerbPing)); !strings.Contains(got, "1\x00ok\x00") {
			t.Errorf("ping in version %s: %q", version, got)
		}
	}
	if got := exchange(t, h.place, frame("99", wire.VerbStop)); !strings.Contains(got, "1\x00ok\x00") {
		t.Errorf("stop in version 99: %q", got)
	}
	await(t, "the daemon to leave", func() bool { return len(h.daemons()) == 0 })
}

// A daemon of a newer protocol is left alone, with one line.
func TestNewerDaemon(t *testing.T) {
	h := newHome(t)
	if err := h.place.Make(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", h.place.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.place.Socket, 0o600); err != nil {
		t.Fatal(err)
	}
	var server sync.WaitGroup
	server.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wire.ReadFrame(conn, wire.MaxRequest)
			io.WriteString(conn, "5\n2\x00ok\x00")
			conn.Close()
		}
	})
	_, err = Connect(context.Background(), h.place, h.exe)
	wantError(t, err, wire.BadVersion, "start a new shell")
	l.Close()
	server.Wait()
}
