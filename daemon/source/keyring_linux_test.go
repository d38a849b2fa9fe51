package source

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	keyrings "github.com/zalando/go-keyring"
)

// children are the processes that ask a keyring for parent.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, proc := range procs {
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		status, _ := os.ReadFile(proc + "/status")
		if strings.Contains(string(cmdline), "\x00__keyring\x00") && strings.Contains(string(status), "\nPPid:\t"+strconv.Itoa(parent)+"\n") {
			pid, _ := strconv.Atoi(filepath.Base(proc))
			pids = append(pids, pid)
		}
	}
	return pids
}

func noChildren(t *testing.T) {
	t.Helper()
	if pids := children(t, os.Getpid()); len(pids) != 0 {
		t.Errorf("%d processes are left", len(pids))
	}
}

func TestRealKeyring(t *testing.T) {
	gnomeKeyring(t)
	if err := KeyringReachable(t.Context(), self(t)); err != nil {
		t.Fatal(err)
	}
	r := Rack{t.TempDir()}
	lock := Lock{Kind: Keyring, Program: self(t)}
	key, reused, err := r.Create(t.Context(), lock)
	if err != nil || reused {
		t.Fatalf("reused %v, %v", reused, err)
	}
	if found := files(t, r.Dir); found != "lock 600, rack.age 600, rack.age.lock 600" {
		t.Errorf("made %s", found)
	}
	kept, err := keyrings.Get("keyrack", "rack-key-v1")
	if err != nil || kept != string(key) {
		t.Errorf("the keyring has another key, or %v", err)
	}
	set(t, r, key, "a", "X", "1")
	again, err := r.Key(t.Context(), self(t))
	if err != nil || !bytes.Equal(again, key) {
		t.Fatalf("another key, or %v", err)
	}
	if get(t, r, again, "a", "X") != "1" {
		t.Error("X is another")
	}

	// A rack elsewhere shares the key, and a rack that fails takes nothing away.
	other := Rack{t.TempDir()}
	shared, reused, err := other.Create(t.Context(), lock)
	if err != nil || !reused || !bytes.Equal(shared, key) {
		t.Errorf("reused %v, %v", reused, err)
	}
	out, err := command(t, "create-full", Rack{t.TempDir()}, Keyring).CombinedOutput()
	if err == nil {
		t.Errorf("a rack on a full disk: %s", out)
	}
	if _, err := r.Key(t.Context(), self(t)); err != nil {
		t.Errorf("the key is gone: %v", err)
	}
	noChildren(t)
}

func TestKeyringWithoutTheKey(t *testing.T) {
	gnomeKeyring(t)
	r := Rack{t.TempDir()}
	lock := Lock{Kind: Keyring, Program: self(t)}

	// What Create put there is gone when it fails at last.
	out, err := command(t, "create-full", r, Keyring).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "writing "+r.File()) {
		t.Errorf("a rack on a full disk: %v: %s", err, out)
	}
	if _, err := keyrings.Get(service, account); !errors.Is(err, keyrings.ErrNotFound) {
		t.Errorf("a key is left: %v", err)
	}

	if _, _, err := r.Create(t.Context(), lock); err != nil {
		t.Fatal(err)
	}
	if err := keyrings.Delete(service, account); err != nil {
		t.Fatal(err)
	}
	_, err = r.Key(t.Context(), self(t))
	wantOneLine(t, err, ErrKeyring, "no item of service keyrack, account rack-key-v1")

	// Something else under the rack's name stays.
	if err := keyrings.Set(service, account, "MARKER"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{func() error { _, err := r.Key(t.Context(), self(t)); return err }(), func() error {
		_, _, err := Rack{t.TempDir()}.Create(t.Context(), lock)
		return err
	}()} {
		wantOneLine(t, err, ErrKeyring, "something else")
		if strings.Contains(err.Error(), "MARKER") {
			t.Error("the error has the item")
		}
	}
	if kept, err := keyrings.Get(service, account); err != nil || kept != "MARKER" {
		t.Errorf("the item is gone, or %v", err)
	}
	noChildren(t)
}

// Without a D-Bus session nothing is asked and nothing started: the library would
// run dbus-launch.
func TestNoBusStartsNothing(t *testing.T) {
	noBus(t)
	marker := t.TempDir() + "/started"
	bin := t.TempDir()
	script := "#!/bin/sh\ntouch " + marker + "\n"
	for _, name := range []string{"dbus-launch", "dbus-daemon"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, address := range map[string]string{"unset": "", "autolaunch": "autolaunch:", "autolaunch with a scope": "autolaunch:scope=*install-path"} {
		t.Setenv(busVariable, address)
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		r := Rack{t.TempDir() + "/keyrack"}
		began := time.Now()
		_, _, err := r.Create(t.Context(), Lock{Kind: Keyring, Program: self(t)})
		wantOneLine(t, err, ErrKeyring, "no D-Bus session")
		wantOneLine(t, KeyringReachable(t.Context(), self(t)), ErrKeyring, "no D-Bus session")
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		if kind, err := r.Kind(); kind != "" || err != nil {
			t.Errorf("%s: kind %q, %v", name, kind, err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a D-Bus was started")
	}
}

// The user's own bus is found without the variable; one that is gone, and one on
// which nobody keeps secrets, are told.
func TestBusesWithoutAKeyring(t *testing.T) {
	address := privateBus(t)
	socket, _, _ := strings.Cut(strings.TrimPrefix(address, "unix:path="), ",")
	if err := os.Symlink(socket, os.Getenv("XDG_RUNTIME_DIR")+"/bus"); err != nil {
		t.Fatal(err)
	}
	t.Setenv(busVariable, "")
	r := keyringRack(t)
	wantOneLine(t, KeyringReachable(t.Context(), self(t)), ErrKeyring, "nobody on this D-Bus session keeps secrets")
	_, err := r.Key(t.Context(), self(t))
	wantOneLine(t, err, ErrKeyring, "org.freedesktop.secrets")
	t.Setenv(busVariable, "unix:path="+t.TempDir()+"/none")
	_, err = r.Key(t.Context(), self(t))
	wantOneLine(t, err, ErrKeyring, "no such file")
	_, err = r.Key(t.Context(), t.TempDir()+"/none")
	wantOneLine(t, err, ErrKeyring, "can't be asked")
	noChildren(t)
}

// keyringRack is a rack whose key no keyring has.
func keyringRack(t *testing.T) Rack {
	t.Helper()
	r, _ := newRack(t)
	if err := errors.Join(os.Remove(r.KeyFile(None)), os.WriteFile(r.kindFile(), []byte("keyring\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return r
}

// A keyring that does not answer, and one that waits for a person where there is
// none, are given up after a second, and so is the child that asked.
func TestHungKeyringIsGivenUp(t *testing.T) {
	for name, prompt := range map[string]bool{"no answer": false, "a prompt": true} {
		t.Run(name, func(t *testing.T) {
			serveHung(t, prompt)
			r := keyringRack(t)
			began := time.Now()
			_, err := r.Key(t.Context(), self(t))
			took := time.Since(began)
			wantOneLine(t, err, ErrKeyring, "does not answer within 1s")
			if took < aloneTime || took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			noChildren(t)
		})
	}
}

// At a desktop a person has a minute, and whoever waits may give up before.
func TestGivingUpEndsTheChild(t *testing.T) {
	serveHung(t, true)
	t.Setenv("XDG_SESSION_TYPE", "wayland")
	r := keyringRack(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := r.Key(ctx, self(t)); done <- err }()
	await(t, "the child", func() bool { return len(children(t, os.Getpid())) == 1 })
	cancel()
	select {
	case err := <-done:
		wantOneLine(t, err, context.Canceled, "asking the OS keyring")
	case <-time.After(10 * time.Second):
		t.Error("it does not give up")
	}
	noChildren(t)
}

// A daemon that is killed while it waits for the keyring leaves no child.
func TestChildEndsWithItsParent(t *testing.T) {
	serveHung(t, true)
	t.Setenv("XDG_SESSION_TYPE", "x11")
	parent := command(t, "key", keyringRack(t))
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	await(t, "the child", func() bool { pids = children(t, parent.Process.Pid); return len(pids) == 1 })
	parent.Process.Kill()
	parent.Wait()
	await(t, "the child to be gone", func() bool { return errors.Is(syscall.Kill(pids[0], 0), syscall.ESRCH) || zombie(pids[0]) })
}

// zombie says whether a process has ended that nobody waits for, as in a
// container without an init.
func zombie(pid int) bool {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return strings.Contains(string(status), "\nState:\tZ")
}

// Called by hand the child does nothing, and says nothing on standard output.
func TestChildAlone(t *testing.T) {
	serveHung(t, false)
	for name, tt := range map[string]struct {
		args []string
		code int
		said string
	}{
		"no arguments": {nil, childFailed, "keyrack calls this itself\n"},
		"no verb":      {[]string{"1s"}, childFailed, "keyrack calls this itself\n"},
		"bad limit":    {[]string{"get", "soon"}, childFailed, "keyrack calls this itself\n"},
		"no parent":    {[]string{"get", "1m"}, childGaveUp, ""},
		"no key":       {[]string{"set", "1m"}, childGaveUp, ""},
	} {
		cmd := exec.Command(self(t), append([]string{"__keyring"}, tt.args...)...) // standard input is at its end
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit == nil || exit.ExitCode() != tt.code || stdout.Len() != 0 || stderr.String() != tt.said {
			t.Errorf("%s: %v, %q", name, err, stderr.String())
		}
	}
}

// A keyring that is locked, with nobody to unlock it, is told soon, and opens
// again for who can.
func TestLockedKeyring(t *testing.T) {
	lock := gnomeKeyring(t)
	r := Rack{t.TempDir()}
	if _, _, err := r.Create(t.Context(), Lock{Kind: Keyring, Program: self(t)}); err != nil {
		t.Fatal(err)
	}
	lock()
	began := time.Now()
	_, err := r.Key(t.Context(), self(t))
	wantOneLine(t, err, ErrKeyring, "it is locked, and was not unlocked")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	noChildren(t)
}

func TestBusAddress(t *testing.T) {
	noBus(t)
	dir := t.TempDir()
	for name, tt := range map[string]struct{ variable, runtime, want string }{
		"variable":         {"unix:path=/x", dir, "unix:path=/x"},
		"relative runtime": {"", "run", ""},
		"no socket":        {"", dir, ""},
	} {
		t.Setenv(busVariable, tt.variable)
		t.Setenv("XDG_RUNTIME_DIR", tt.runtime)
		environ, err := keyringEnvironment()
		if (err == nil) != (tt.want != "") {
			t.Errorf("%s: %v", name, err)
		}
		if tt.want != "" && environ[len(environ)-1] != busVariable+"="+tt.want {
			t.Errorf("%s: %s", name, environ[len(environ)-1])
		}
	}
}

func TestWhatTheChildSaysIsOneLine(t *testing.T) {
	for said, want := range map[string]string{"": "it failed without a word", "a\nb": "a", "\x1b[0ma\xff\n": "[0ma", strings.Repeat("x", 1000): strings.Repeat("x", 400)} {
		f := &firstBytes{}
		if n, err := f.Write([]byte(said)); n != len(said) || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if got := f.line(); got != want {
			t.Errorf("%q is %q", said, got)
		}
	}
}
