package source

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// noBus takes this process out of every D-Bus session, and every desktop.
func noBus(t *testing.T) {
	t.Helper()
	for _, name := range []string{busVariable, "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY"} {
		t.Setenv(name, "")
	}
	t.Setenv("XDG_SESSION_TYPE", "tty")
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir=DIR</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>`

// privateBus starts a D-Bus of this test alone, which starts no services, points
// the environment to it, and returns its address.
func privateBus(t *testing.T) string {
	t.Helper()
	noBus(t)
	dir, err := os.MkdirTemp("", "kr") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(busConfig, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	bus := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address=1")
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Process.Kill(); bus.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(address)
	t.Setenv(busVariable, address)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return address
}

// connectBus connects to a bus as another program would.
func connectBus(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// gnomeKeyring starts a real gnome-keyring, unlocked, on a bus of its own, and
// returns what locks it as a login without its password would leave it.
func gnomeKeyring(t *testing.T) (lock func()) {
	t.Helper()
	address := privateBus(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", home+"/data")
	conn := connectBus(t, address)
	stop := startGnome(t, conn, "--unlock")
	return func() {
		t.Helper()
		stop()
		await(t, "gnome-keyring to be gone", func() bool { return !served(conn) })
		startGnome(t, conn)
	}
}

func served(conn *dbus.Conn) (owned bool) {
	return conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, secretService).Store(&owned) == nil && owned
}

func startGnome(t *testing.T, conn *dbus.Conn, args ...string) (stop func()) {
	t.Helper()
	keyring := exec.Command("gnome-keyring-daemon", append([]string{"--components=secrets", "--foreground"}, args...)...)
	keyring.Stdin = strings.NewReader("a password of this test\n")
	var log bytes.Buffer
	keyring.Stdout, keyring.Stderr = &log, &log
	if err := keyring.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() { keyring.Process.Kill(); keyring.Wait() }
	t.Cleanup(stop)
	await(t, "gnome-keyring", func() bool { return served(conn) })
	return stop
}

// hungService is a Secret Service that never answers a call, or, with a prompt,
// one whose person never does.
type hungService struct{ until chan struct{} }

func (h hungService) hang() *dbus.Error {
	<-h.until
	return dbus.MakeFailedError(os.ErrClosed)
}

func (h hungService) Get(string, string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant(""), h.hang()
}

func (h hungService) Unlock([]dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	return nil, "/", h.hang()
}

type patientService struct{}

const promptPath = dbus.ObjectPath("/org/freedesktop/secrets/prompt/1")

func (patientService) Unlock([]dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	return []dbus.ObjectPath{}, promptPath, nil
}

func (patientService) Prompt(string) *dbus.Error { return nil }

// serveHung puts a stand-in for the Secret Service on a bus of its own.
func serveHung(t *testing.T, prompt bool) {
	t.Helper()
	conn := connectBus(t, privateBus(t))
	const path, base = "/org/freedesktop/secrets", "org.freedesktop.Secret."
	exports := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if prompt {
		exports(conn.Export(patientService{}, path, base+"Service"), conn.Export(patientService{}, promptPath, base+"Prompt"))
	} else {
		h := hungService{make(chan struct{})}
		t.Cleanup(func() { close(h.until) })
		exports(conn.Export(h, path, base+"Service"), conn.Export(h, path, "org.freedesktop.DBus.Properties"))
	}
	if reply, err := conn.RequestName(secretService, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("reply %v, %v", reply, err)
	}
}
