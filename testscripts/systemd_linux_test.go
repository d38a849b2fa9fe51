package testscripts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A real systemd --user starts the daemon at the socket that `keyrack daemon
// install` has it listen at, and no client finds it gone, whatever becomes of the
// daemon. It takes root to give systemd cgroups of its own.
func TestSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: what systemd makes of the files is held by its parser alone (package cmd)")
		return
	}
	const user = "64123" // nobody's
	dir, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/bin", 0o755), os.Mkdir(dir+"/home", 0o700), os.Mkdir(dir+"/run", 0o700)); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{filepath.Join(binDir, "keyrack"): "bin/keyrack", "testdata/systemd/inside": "inside"} {
		data, err := os.ReadFile(from)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, to), data, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "bash", "testdata/systemd/outside", dir, user)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it cleans up
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "cgroup") && strings.Contains(string(out), "Permission denied") || strings.Contains(string(out), "unshare failed") {
		t.Logf("no systemd --user can be had here: %s", out)
		return
	}
	const want = `own daemon: 5 bytes
install: keyrack: systemd starts the daemon when something needs it, one for all of your login sessions
units: active inactive, socket 600, directory 700
first client: 5 bytes
units: active active, shared: all login sessions
the daemon is systemd's: 1
not in force: []
again: keyrack: installed already: systemd starts the daemon when something needs it, one for all of your login sessions
stopped: active inactive
next client: 5 bytes
after kill -9: 5 bytes
clients: 5 bytes
units: active active
uninstall: 0, units: inactive inactive, left: 
own daemon again: 5 bytes
`
	if string(out) != want {
		log, _ := os.ReadFile(dir + "/home/log")
		t.Errorf("%v:\n%s\nwant\n%s\nsystemd says\n%s", err, out, want, log)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/keyrack-test-*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
