package testscripts

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdKeyring starts a real gnome-keyring, unlocked, on a private D-Bus and sets
// DBUS_SESSION_BUS_ADDRESS; both end with the script. With -locked the keyring
// is not unlocked, so that reading it needs a person.
//
//	keyring [-locked] | keyring stop
func cmdKeyring(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) == 1 && args[0] == "stop" {
		kill(ts.Getenv("KT_BUS_PID"))
		ts.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
		return
	}
	address := "unix:path=" + filepath.Join(w.runtime, "bus")
	bus := exec.Command("dbus-daemon", "--session", "--nopidfile", "--address="+address, "--print-pid=1", "--fork")
	bus.Env = environment(ts)
	out, err := bus.Output()
	ts.Check(err)
	pid := strings.TrimSpace(string(out))
	ts.Setenv("KT_BUS_PID", pid)
	ts.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
	ts.Defer(func() { kill(pid) })

	argv := []string{"--components=secrets", "--foreground"}
	if len(args) == 0 {
		argv = append(argv, "--unlock")
	}
	keyring := exec.Command("gnome-keyring-daemon", argv...)
	keyring.Env = environment(ts)
	keyring.Stdin = strings.NewReader("a password of this test\n")
	var log bytes.Buffer
	keyring.Stdout, keyring.Stderr = &log, &log
	ts.Check(keyring.Start())
	ts.Defer(func() {
		_ = keyring.Process.Kill()
		_ = keyring.Wait()
	})
	owned := func() bool {
		ask := exec.Command("dbus-send", "--bus="+address, "--print-reply", "--dest=org.freedesktop.DBus", "/",
			"org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets")
		answer, _ := ask.Output()
		return bytes.Contains(answer, []byte("true"))
	}
	if !eventually(patience, owned) {
		ts.Fatalf("gnome-keyring did not come up")
	}
}

func kill(pid string) {
	var n int
	for _, r := range pid {
		if r < '0' || r > '9' {
			return
		}
		n = n*10 + int(r-'0')
	}
	if n > 1 {
		_ = syscall.Kill(n, syscall.SIGTERM)
	}
}
