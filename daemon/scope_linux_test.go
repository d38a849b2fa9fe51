package daemon

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// stranger is a second unprivileged user in the home of the first; ok is false
// where only root could make one.
func (h *home) stranger(t *testing.T) (other *home, ok bool) {
	t.Helper()
	if h.cred == nil {
		return nil, false
	}
	if err := os.Chmod(h.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s := *h
	s.cred = &syscall.Credential{Uid: 65533, Gid: 65533}
	return &s, true
}

// open opens the way to the socket for everybody, as a person's mistake might, and
// closes it again when the test ends.
func (h *home) open(t *testing.T) {
	t.Helper()
	way := []struct {
		path         string
		wide, narrow os.FileMode
	}{{filepath.Dir(h.place.Dir), 0o711, 0o700}, {h.place.Dir, 0o711, 0o700}, {h.place.Socket, 0o666, 0o600}}
	for _, w := range way {
		if err := os.Chmod(w.path, w.wide); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, w := range way {
			if err := os.Chmod(w.path, w.narrow); err != nil {
				t.Error(err)
			}
		}
	})
}

// Another user is kept out by the modes; where they are too wide, by the uid that
// the kernel tells.
func TestAnotherUserIsRefused(t *testing.T) {
	h := newHome(t)
	h.asNobody(t)
	h.run(t, "connect")
	other, ok := h.stranger(t)
	if !ok {
		t.Log("not root: no second user is tried")
		if out := h.run(t, "ask", h.place.Socket); !strings.Contains(out, `"ok"`) {
			t.Errorf("the user's own client: %s", out)
		}
		return
	}
	out, err := other.command("ask", h.place.Socket).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("by mode: %v: %s", err, out)
	}
	h.open(t)
	if out := h.run(t, "ask", h.place.Socket); !strings.Contains(out, `"ok"`) {
		t.Errorf("the user's own client: %s", out)
	}
	out, err = other.command("ask", h.place.Socket).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "this daemon serves another user: refused") || strings.Contains(string(out), `"ok"`) {
		t.Errorf("by uid: %v: %s", err, out)
	}
}

// The mode of a socket that nobody has changed since it was made, and that is 0600
// now, was never another one.
func TestSocketWasNeverWider(t *testing.T) {
	h := newHome(t)
	if err := h.place.Make(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, h.place.Dir, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	defer unix.Umask(unix.Umask(0))
	h.connect(t)
	info, err := os.Lstat(h.place.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket: %v, %v", info, err)
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Read(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for at := 0; at < n; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
		name := unix.ByteSliceToString(buf[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+int(event.Len)])
		at += unix.SizeofInotifyEvent + int(event.Len)
		switch {
		case name != filepath.Base(h.place.Socket):
		case event.Mask&unix.IN_CREATE != 0:
			made++
		default:
			t.Errorf("the socket was changed or moved there (%#x)", event.Mask)
		}
	}
	if made != 1 {
		t.Errorf("the socket was made %d times", made)
	}
}

// What another user made in the place of this user's directory is refused, by the
// client and by the daemon.
func TestRuntimeDirectoryOfAnotherUser(t *testing.T) {
	h := newHome(t)
	h.asNobody(t)
	other, ok := h.stranger(t)
	if !ok {
		t.Log("not root: no second user is tried")
		return
	}
	theirs := h.dir + "/theirs"
	for name, spoil := range map[string]func() error{
		"theirs":         func() error { return os.Mkdir(h.place.Dir, 0o700) },
		"link to theirs": func() error { return errors.Join(os.Mkdir(theirs, 0o700), os.Symlink(theirs, h.place.Dir)) },
		"theirs, 0777":   func() error { return errors.Join(os.Mkdir(h.place.Dir, 0o700), os.Chmod(h.place.Dir, 0o777)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer os.RemoveAll(theirs)
			defer os.RemoveAll(h.place.Dir)
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{h.place.Dir, theirs} {
				if err := os.Lchown(path, int(other.cred.Uid), int(other.cred.Gid)); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			for _, args := range [][]string{{"connect"}, {"daemon", "run"}} {
				out, err := h.command(args...).CombinedOutput()
				if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "refused") {
					t.Errorf("%s: %v: %s", args[0], err, out)
				}
			}
		})
	}
}

// Around the limit of a socket's path every length works.
func TestSocketPathAtTheLimit(t *testing.T) {
	h := newHome(t)
	for length := 105; length <= 110; length++ {
		rest := length - len(h.dir) - len("//keyrack/"+filepath.Base(h.place.Socket))
		long := h.dir + "/" + strings.Repeat("r", rest)
		if err := os.Mkdir(long, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("XDG_RUNTIME_DIR", long)
		p, err := wire.FindPlace()
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Socket) != length {
			t.Fatalf("the path has %d bytes, not %d", len(p.Socket), length)
		}
		g := *h
		g.place = p
		g.connect(t)
		g.run(t, "stop")
	}
}

// Fifty daemons that were all started by hand, over the socket of one that was
// killed: one is left, and serves.
func TestFiftyDaemonsOverAStaleSocket(t *testing.T) {
	h := newHome(t)
	dead := h.foreground(t)
	dead.Process.Kill()
	dead.Wait()
	if _, err := os.Lstat(h.place.Socket); err != nil {
		t.Fatalf("there is no stale socket to test with: %v", err)
	}
	var losers, all sync.WaitGroup
	var mu sync.Mutex
	var ended []string
	commands := make([]*exec.Cmd, 50)
	losers.Add(len(commands) - 1)
	for i := range commands {
		cmd := h.command("daemon", "run")
		commands[i] = cmd
		all.Go(func() {
			out, _ := cmd.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if ended = append(ended, string(out)); len(ended) < len(commands) {
				losers.Done()
			}
		})
	}
	losers.Wait()
	pid := h.pid(t)
	mu.Lock()
	for _, out := range ended {
		if !strings.Contains(out, "another daemon is running") {
			t.Errorf("a loser says %q", out)
		}
	}
	mu.Unlock()
	h.run(t, "stop")
	all.Wait()
	won := 0
	for _, cmd := range commands {
		if cmd.Process.Pid == pid && cmd.ProcessState.Success() {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of those that were started serve", won)
	}
}

// Whoever connected and is gone, and whoever became another program since, gets no
// answer: the daemon can't say any more who that is.
func TestWhoAskedMustStillBeThere(t *testing.T) {
	h := newHome(t)
	h.connect(t)
	for role, want := range map[string]string{
		"leave": "the process that asked has ended: refused",
		"turn":  "the process that asked now runs another program: refused",
	} {
		if out := h.run(t, role, h.place.Socket); !strings.Contains(out, want) || strings.Contains(out, "ok") {
			t.Errorf("%s: %s", role, out)
		}
	}
	if out := h.run(t, "ask", h.place.Socket); !strings.Contains(out, `"ok"`) {
		t.Errorf("who asks itself: %s", out)
	}
}

// A process id means another process once the first has ended, and been waited for.
func TestRecycledPidIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: no pid can be recycled; TestWhoAskedMustStillBeThere holds that the pid is not what counts")
		return
	}
	h := newHome(t)
	h.connect(t)
	untilFree(t, h.recycledIsRefused)
}

func (h *home) recycledIsRefused(t *testing.T) (free bool) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	gone := h.command("leave", h.place.Socket)
	gone.Stdout = w
	ask, err := gone.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	hold, err := unix.FcntlInt(ask.(*os.File).Fd(), unix.F_DUPFD_CLOEXEC, 0) // Wait closes ask, which would let the heir speak
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(gone.Start(), w.Close(), gone.Wait()); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(r)
	if line, err := out.ReadString('\n'); err != nil || strings.TrimSpace(line) != strconv.Itoa(gone.Process.Pid) {
		t.Fatalf("%q, %v", line, err)
	}
	heir := recycle(t, gone.Process.Pid, func() *exec.Cmd { return exec.Command("sleep", "600") })
	unix.Close(hold)
	answer, err := out.ReadString('\n')
	if heir != nil && (err != nil || !strings.Contains(answer, "the process that asked has ended: refused")) {
		t.Errorf("with pid %d of another process: %s, %v", heir.Process.Pid, answer, err)
	}
	return heir != nil
}

// Who gets the pid of a process that the daemon remembers is met as who it is: its
// first question gets no answer, the second does.
func TestRecycledPidIsMetAnew(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: no pid can be recycled")
		return
	}
	r := newRig(t, "none", nil)
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", marker)
	untilFree(t, r.recycledIsMetAnew)
}

func (r *rig) recycledIsMetAnew(t *testing.T) (free bool) {
	often := func() *exec.Cmd { return r.command("ask-often", r.root, "3") }
	first := often()
	out, err := first.Output()
	if err != nil || string(out) != "ok\nok\nok\n" {
		t.Fatalf("%q, %v", out, err)
	}
	pid := first.Process.Pid
	remembered := func() bool {
		r.server.known.mu.Lock()
		defer r.server.known.mu.Unlock()
		return r.server.known.kept[pid] != nil
	}
	if !remembered() && numbered() {
		t.Fatal("who asked three times is not remembered")
	}
	var said bytes.Buffer
	heir := recycle(t, pid, func() *exec.Cmd {
		said.Reset()
		cmd := often()
		cmd.Stdout = &said
		return cmd
	})
	if heir == nil {
		return false
	}
	if err := heir.Wait(); err != nil {
		t.Error(err)
	}
	want := "the daemon (pid " + strconv.Itoa(os.Getpid()) + ") went away without an answer\nok\nok\n"
	if !numbered() {
		want = "ok\nok\nok\n"
	}
	if said.String() != want {
		t.Errorf("it got %q", said.String())
	}
	return true
}

// untilFree has try done with one pid after the other, until nobody else takes it.
func untilFree(t *testing.T, try func(*testing.T) (free bool)) {
	t.Helper()
	for range 50 {
		if try(t) {
			return
		}
	}
	t.Fatal("other processes took each of 50 pids")
}

// recycle starts a process whose id is pid.
// recycle starts a process with the pid of one that has ended; nil where another one got
// it meanwhile. It tries no longer than that takes: where process ids come again at once,
// shells take one child for another.
func recycle(t *testing.T, pid int, command func() *exec.Cmd) *exec.Cmd {
	t.Helper()
	for range 20 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		cmd := command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if cmd.Process.Pid == pid {
			return cmd
		}
		cmd.Process.Kill()
		cmd.Wait()
		if unix.Kill(pid, 0) == nil {
			return nil
		}
	}
	return nil
}

// However many processes ask again and again, the daemon keeps a bounded number of
// their handles, none of which stays open when it is not kept any more.
func TestHandlesAreBounded(t *testing.T) {
	r := newRig(t, "none", nil)
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", marker)
	handles := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if target, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(target, "pidfd") {
				n++
			}
		}
		return n
	}
	before := handles() // of processes that this test's own runtime waits for
	for range 2*maxKept + 8 {
		if out, err := r.command("ask-often", r.root, "3").Output(); err != nil || string(out) != "ok\nok\nok\n" {
			t.Fatalf("%q, %v", out, err)
		}
	}
	if n := handles() - before; n > maxKept {
		t.Errorf("%d handles are open, of %d at most", n, maxKept)
	} else if n == 0 && numbered() {
		t.Error("none is kept")
	}
}
