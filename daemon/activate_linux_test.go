package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// shared makes the place of all login sessions the home's, as a socket there does.
func (h *home) shared(t *testing.T) {
	t.Helper()
	place, err := wire.SharedPlace()
	if err := errors.Join(err, place.Make()); err != nil {
		t.Fatal(err)
	}
	h.place = place
}

// The real systemd-socket-activate listens and becomes the daemon when a client
// comes. The daemon runs its program again from memory on the way, and still has
// the socket; when it leaves, the socket is where it was.
func TestSocketActivation(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Fatal("systemd-socket-activate is not installed (package systemd): ", err)
	}
	h := newHome(t)
	h.shared(t)
	cmd := exec.Command(activate, "-l", h.place.Socket)
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
		cmd.Args = append(cmd.Args, "-E", name)
	}
	cmd.Args = append(cmd.Args, h.exe, "daemon", "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); os.Remove(h.place.Socket) })
	await(t, "the socket", func() bool { return os.Chmod(h.place.Socket, 0o600) == nil })
	before := inode(t, h.place.Socket)

	client, err := Connect(t.Context(), h.place, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Status(t.Context(), "")
	if err != nil || s.Daemon.PID != cmd.Process.Pid || s.Daemon.Scope != h.place.Scope {
		t.Errorf("daemon %+v, %v, not pid %d", s.Daemon, err, cmd.Process.Pid)
	}
	conn, err := net.Dial("unix", h.place.Socket)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if _, pid, err := wire.Peer(int(fd)); pid != cmd.Process.Pid || err != nil {
			t.Errorf("the kernel names pid %d at the other end, %v", pid, err)
		}
	})
	conn.Close()
	began := time.Now()
	if err := Stop(t.Context(), h.place); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if inode(t, h.place.Socket) != before {
		t.Error("the socket is another one")
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// given starts the daemon with sockets from descriptor 3 on, as an init system does.
func (h *home) given(t *testing.T, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := h.command("-c", fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d exec "$0" daemon run`, len(files)), h.exe)
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.ExtraFiles = sh, files
	return cmd
}

func (h *home) socket(t *testing.T, network, address string) *os.File {
	t.Helper()
	var file *os.File
	var err error
	if network == "unixgram" {
		conn, errListen := net.ListenUnixgram(network, &net.UnixAddr{Name: address, Net: network})
		if errListen != nil {
			t.Fatal(errListen)
		}
		file, err = conn.File()
	} else {
		l, errListen := net.Listen(network, address)
		if errListen != nil {
			t.Fatal(errListen)
		}
		if unixListener, ok := l.(*net.UnixListener); ok {
			unixListener.SetUnlinkOnClose(false)
			file, err = unixListener.File()
		} else {
			file, err = l.(*net.TCPListener).File()
		}
		l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if strings.HasPrefix(network, "unix") {
		t.Cleanup(func() { os.Remove(address) })
		if err := os.Chmod(address, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// An unused daemon leaves, and a client that comes before the next one waits for
// it in the queue of the socket that stayed.
func TestActivatedDaemonLeavesTheSocket(t *testing.T) {
	h := newHome(t)
	h.shared(t)
	if err := os.WriteFile(h.dir+"/c/unused", []byte("300ms"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := h.socket(t, "unix", h.place.Socket)
	first := h.given(t, socket)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if pid := h.pid(t); pid != first.Process.Pid {
		t.Errorf("pid %d answers, not %d", pid, first.Process.Pid)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the unused daemon ended with %v", err)
	}
	_, err := wire.Call(h.place, 200*time.Millisecond, nil, []byte(wire.VerbPing))
	if e := wantError(t, err, wire.Unavailable, "does not answer"); e.Hint != "" {
		t.Errorf("with nobody behind the socket, who holds it is to be killed: %s", e.Hint)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := wire.Call(h.place, 20*time.Second, nil, []byte(wire.VerbPing))
		answer <- err
	}()
	if err := os.WriteFile(h.dir+"/c/unused", []byte("1h"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := h.given(t, socket)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Stop(ctx, h.place); err != nil {
		t.Error(err)
	}
	second.Wait()
}

// What is not the socket of the daemon's place, closed to others, is refused with
// one line; what was meant for another process is nothing to this one.
func TestGivenSocketIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		files func(t *testing.T, h *home) []*os.File
		want  string
	}{
		"elsewhere": {func(t *testing.T, h *home) []*os.File { return []*os.File{h.socket(t, "unix", h.dir+"/x.sock")} }, "where this daemon's is at"},
		"open": {func(t *testing.T, h *home) []*os.File {
			f := h.socket(t, "unix", h.place.Socket)
			os.Chmod(h.place.Socket, 0o666)
			return []*os.File{f}
		}, "is open to others (mode 666): refused"},
		"datagrams": {func(t *testing.T, h *home) []*os.File { return []*os.File{h.socket(t, "unixgram", h.place.Socket)} }, "no listening unix stream socket"},
		"network":   {func(t *testing.T, h *home) []*os.File { return []*os.File{h.socket(t, "tcp", "127.0.0.1:0")} }, "no listening unix stream socket"},
		"two": {func(t *testing.T, h *home) []*os.File {
			f := h.socket(t, "unix", h.place.Socket)
			return []*os.File{f, f}
		}, "gave 2 sockets"},
		"no socket": {func(t *testing.T, h *home) []*os.File {
			h.socket(t, "unix", h.place.Socket) // by which the place is found
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			return []*os.File{f}
		}, "socket operation on non-socket"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			h.shared(t)
			files := c.files(t, h)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := h.given(t, files...)
			context.AfterFunc(ctx, func() { cmd.Process.Kill() })
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") != 1 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	h := newHome(t)
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "7")
	h.foreground(t)
}
