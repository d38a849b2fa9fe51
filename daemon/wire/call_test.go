package wire

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testPlace is a place in a short directory of the test's own.
func testPlace(t *testing.T) Place {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := PlaceIn(dir+"/keyrack", "")
	if err := p.Make(); err != nil {
		t.Fatal(err)
	}
	return p
}

// serve answers each connection at p by f, which has the connection to itself.
func serve(t *testing.T, p Place, f func(net.Conn)) {
	t.Helper()
	path, done, err := p.Address()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.Socket, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); f(conn) }()
		}
	}()
}

// saying answers every request with the same bytes.
func saying(answer string) func(net.Conn) {
	return func(c net.Conn) {
		ReadFrame(c, MaxRequest)
		c.Write([]byte(answer))
	}
}

// echo answers ok and the request's arguments.
func echo(c net.Conn) {
	request, err := ReadFrame(c, MaxRequest)
	if err != nil {
		return
	}
	request[1] = []byte(OK)
	frame, _ := Encode(request...)
	c.Write(frame)
}

func wantError(t *testing.T, err error, status, text string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Message, text) || strings.Contains(e.Message, "\n") {
		t.Fatalf("error %v, want status %s and one line with %q", err, status, text)
	}
	return e
}

func TestCallRoundTrip(t *testing.T) {
	p := testPlace(t)
	serve(t, p, echo)
	big := []byte(strings.Repeat("v", 900<<10))
	answer, err := Call(p, 5*time.Second, nil, []byte(VerbSet), []byte("a"), big)
	if err != nil || len(answer) != 3 || string(answer[0]) != OK || len(answer[2]) != len(big) {
		t.Fatalf("%d fields, %v", len(answer), err)
	}
}

func TestCallRefusesTooBigARequest(t *testing.T) {
	p := testPlace(t)
	serve(t, p, echo)
	_, err := Call(p, 5*time.Second, nil, []byte(VerbSet), make([]byte, 10))
	wantError(t, err, Invalid, "NUL")
	_, err = Call(p, 5*time.Second, nil, []byte(VerbSet), []byte(strings.Repeat("v", MaxRequest)))
	wantError(t, err, Invalid, "too big")
}

// A socket path over the limit of sockaddr_un works where the kernel can name a
// directory by its descriptor, and is one clear line elsewhere.
func TestCallLongPath(t *testing.T) {
	for _, total := range []int{100, 106, 107, 108, 109, 200} {
		base := testPlace(t).Dir
		pad := total - len(base) - len("//keyrack.sock")
		p := PlaceIn(base+"/"+strings.Repeat("d", pad), "")
		if len(p.Socket) != total {
			t.Fatalf("the path has %d bytes", len(p.Socket))
		}
		if err := p.Make(); err != nil {
			t.Fatal(err)
		}
		var room unix.RawSockaddrUnix
		if runtime.GOOS != "linux" && total >= len(room.Path) {
			_, _, err := p.Address()
			wantError(t, err, Unavailable, "XDG_RUNTIME_DIR")
			continue
		}
		serve(t, p, echo)
		if _, err := Call(p, 5*time.Second, nil, []byte(VerbPing)); err != nil {
			t.Errorf("%d bytes: %v", total, err)
		}
	}
}

func TestCallWithoutADaemon(t *testing.T) {
	p := testPlace(t)
	_, err := Call(p, 2*time.Second, nil, []byte(VerbPing))
	wantError(t, err, Unavailable, "no daemon is running")
	_, err = Call(PlaceIn(p.Dir+"/nowhere", ""), 2*time.Second, nil, []byte(VerbPing))
	wantError(t, err, Unavailable, "no daemon is running")

	l, err := net.Listen("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	os.Chmod(p.Socket, 0o600)
	_, err = Call(p, 2*time.Second, nil, []byte(VerbPing))
	wantError(t, err, Unavailable, "no daemon is running")
}

func TestCallGivesUp(t *testing.T) {
	p := testPlace(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	serve(t, p, func(net.Conn) { <-release })
	var slow atomic.Int32
	start := time.Now()
	_, err := Call(p, 700*time.Millisecond, func() { slow.Add(1) }, []byte(VerbPing))
	took := time.Since(start)
	wantError(t, err, Unavailable, "does not answer")
	if took < 700*time.Millisecond || took > 20*time.Second {
		t.Errorf("gave up after %s", took)
	}
	if slow.Load() != 1 {
		t.Errorf("slow was called %d times", slow.Load())
	}
}

// A listener that never accepts and whose queue is full must not block connect.
func TestCallFullQueue(t *testing.T) {
	p := testPlace(t)
	fd, err := newSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: p.Socket}), unix.Listen(fd, 0), os.Chmod(p.Socket, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		start := time.Now()
		_, err := Call(p, 200*time.Millisecond, nil, []byte(VerbPing))
		wantError(t, err, Unavailable, "")
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
	}
}

func TestCallBadAnswers(t *testing.T) {
	tests := []struct{ name, answer, status, text string }{
		{"no answer", "", Unavailable, "went away"},
		{"not a frame", marker, Failed, "malformed"},
		{"4 GiB", "4294967296\n" + marker, Failed, "malformed"},
		{"cut", "100\n" + marker, Failed, "malformed"},
		{"no status", "2\n1\x00", Failed, "without a status"},
		{"no version", "5\nx\x00ok\x00", Failed, "without a version"},
		{"newer", "5\n2\x00ok\x00", BadVersion, "start a new shell"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPlace(t)
			serve(t, p, saying(tt.answer))
			_, err := Call(p, 5*time.Second, nil, []byte(VerbPing))
			e := wantError(t, err, tt.status, tt.text)
			if strings.Contains(e.Message+e.Hint, marker) {
				t.Error("the error quotes the answer")
			}
		})
	}
}

// otherUser is a user who is not this one. Only root can become one: as anybody
// else, ok is false and the tests hold what can be held without.
func otherUser() (cred *syscall.Credential, ok bool) {
	return &syscall.Credential{Uid: 65534, Gid: 65534}, os.Geteuid() == 0
}

func TestPlaceIsChecked(t *testing.T) {
	tests := []struct {
		name, text, hint string
		spoil            func(p Place) error
	}{
		{"directory open to all", "open to others (mode 777)", "chmod 700", func(p Place) error { return os.Chmod(p.Dir, 0o777) }},
		{"directory open to the group", "open to others (mode 750)", "chmod 700", func(p Place) error { return os.Chmod(p.Dir, 0o750) }},
		{"socket open to all", "open to others (mode 666)", "chmod 600", func(p Place) error { return os.Chmod(p.Socket, 0o666) }},
		{"directory is a link", "symbolic link", "", func(p Place) error {
			return errors.Join(os.Rename(p.Dir, p.Dir+"2"), os.Symlink(p.Dir+"2", p.Dir))
		}},
		{"socket is a link", "symbolic link", "", func(p Place) error {
			return errors.Join(os.Rename(p.Socket, p.Socket+"2"), os.Symlink(p.Socket+"2", p.Socket))
		}},
		{"socket is a file", "not a socket", "", func(p Place) error {
			return errors.Join(os.Remove(p.Socket), os.WriteFile(p.Socket, nil, 0o600))
		}},
		{"directory is a file", "not a directory", "", func(p Place) error {
			return errors.Join(os.RemoveAll(p.Dir), os.WriteFile(p.Dir, nil, 0o600))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPlace(t)
			serve(t, p, echo)
			if err := tt.spoil(p); err != nil {
				t.Fatal(err)
			}
			_, err := Call(p, 5*time.Second, nil, []byte(VerbPing))
			e := wantError(t, err, Unavailable, tt.text)
			if !strings.HasPrefix(e.Hint, tt.hint) || tt.hint == "" && e.Hint != "" {
				t.Errorf("hint %q", e.Hint)
			}
		})
	}
}

// As root the directory is given away; anybody else finds /usr to be another's.
func TestForeignDirectory(t *testing.T) {
	p := PlaceIn("/usr", "")
	if cred, ok := otherUser(); ok {
		p = testPlace(t)
		if err := os.Chown(p.Dir, int(cred.Uid), int(cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, p.Check(), Unavailable, "belongs to another user")
	wantError(t, p.Make(), Unavailable, "belongs to another user")
}

// A listener of another user is refused by its uid where its socket looks right:
// that needs root to set up. As anybody else, the listener is this user's own and
// the same call is answered by nobody but it.
func TestListenerOfAnotherUser(t *testing.T) {
	p := testPlace(t)
	cred, root := otherUser()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(readable(t, exe), "listen", filepath.Base(p.Socket))
	cmd.Dir = p.Dir
	if root {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		if err := errors.Join(os.Chown(p.Dir, int(cred.Uid), -1), os.Chmod(filepath.Dir(p.Dir), 0o711)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(unix.SIGTERM)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("the listener says %q, %v", line, err)
	}
	if err := errors.Join(os.Chown(p.Dir, os.Geteuid(), -1), os.Chown(p.Socket, os.Geteuid(), -1), os.Chmod(p.Socket, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = Call(p, 300*time.Millisecond, nil, []byte(VerbPing))
	if root {
		wantError(t, err, Unavailable, "is not this user")
	} else {
		wantError(t, err, Unavailable, "does not answer")
	}
}

// readable is a copy of the test binary that every user may run: go test builds it
// in a directory of root's own.
func readable(t *testing.T, exe string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile(exe)
	copied := dir + "/exe"
	if err := errors.Join(err, os.WriteFile(copied, data, 0o755), os.Chmod(dir, 0o755), os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	return copied
}
