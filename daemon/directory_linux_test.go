package daemon

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a worksite may have hangs on the directory that the path leads to and on
// the file that the daemon reads there, never on a name that the kernel makes up,
// on who stands where, or on how the path was written. Each of these tests runs
// `keyrack exec` in a directory, as its user, and looks for the value.

// given says whether a command run in dir gets the value, and what is said.
func (tg *target) given(t *testing.T, dir string) (bool, string) {
	t.Helper()
	cmd := tg.call("exec", "--", "sh", "-c", `echo "A=$A"`)
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput()
	return bytes.Contains(out, []byte("A="+strings.Join(tg.value, ""))), string(out)
}

func (tg *target) wantGiven(t *testing.T, dir string, want bool) {
	t.Helper()
	if got, said := tg.given(t, dir); got != want || !want && !strings.Contains(said, "not allowed") {
		t.Errorf("in %s: given %t, with %d bytes of output", strings.TrimPrefix(dir, tg.dir), got, len(said))
	}
}

// site makes one more directory with the same file, which nobody approved.
func (tg *target) site(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(tg.root + "/.keyrack.toml")
	if err := errors.Join(err, os.Mkdir(dir, 0o755), os.WriteFile(dir+"/.keyrack.toml", text, 0o644)); err != nil {
		t.Fatal(err)
	}
	tg.own(t, dir, dir+"/.keyrack.toml")
}

// own gives paths to the user of the home.
func (tg *target) own(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if tg.cred == nil {
			return
		}
		if err := os.Lchown(path, int(tg.cred.Uid), int(tg.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// The kernel says "x (deleted)" of a working directory that was removed. A
// directory may have that very name.
func TestDirectoryNamedDeleted(t *testing.T) {
	tg := newTarget(t)
	named, removed := tg.dir+"/x (deleted)", tg.dir+"/x"
	tg.site(t, named)
	allow := tg.call("allow")
	allow.Dir = named
	if out, err := allow.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tg.wantGiven(t, named, true)
	tg.site(t, removed)
	tg.wantGiven(t, removed, false)
	// From inside the removed one, however its path is told.
	for _, pwd := range []string{removed, named, "x (deleted)"} {
		if err := os.MkdirAll(removed, 0o755); err != nil {
			t.Fatal(err)
		}
		tg.own(t, removed)
		cmd := tg.call("-c", `rm -rf ../x && PWD="$1" && export PWD && exec "$0" exec -- sh -c 'echo "A=$A"'`, tg.keyrack.exe, pwd)
		cmd.Path, cmd.Args[0], cmd.Dir = "/bin/sh", "sh", removed
		out, err := cmd.CombinedOutput()
		if err == nil || bytes.Contains(out, []byte(tg.value[1])) {
			t.Errorf("in a removed directory that PWD calls %q: %v, %d bytes", filepath.Base(pwd), err, len(out))
		}
	}
}

func TestRenamedDirectory(t *testing.T) {
	tg := newTarget(t)
	tg.wantGiven(t, tg.root, true)
	moved := tg.dir + "/moved"
	if err := os.Rename(tg.root, moved); err != nil {
		t.Fatal(err)
	}
	tg.wantGiven(t, moved, false)
	// Another directory in its place has what was approved only with its very bytes.
	if err := os.Mkdir(tg.root, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(moved + "/.keyrack.toml")
	if err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]bool{"": true, "# \n": false} {
		if err := os.WriteFile(tg.root+"/.keyrack.toml", append(text, more...), 0o644); err != nil {
			t.Fatal(err)
		}
		tg.own(t, tg.root, tg.root+"/.keyrack.toml")
		tg.wantGiven(t, tg.root, want)
	}
	if err := os.Rename(tg.root, tg.dir+"/second"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(moved, tg.root); err != nil {
		t.Fatal(err)
	}
	tg.wantGiven(t, tg.root, true)
}

// A link is the directory that it leads to, at the moment of the request.
func TestLinkedDirectory(t *testing.T) {
	tg := newTarget(t)
	link, other := tg.dir+"/link", tg.dir+"/other"
	tg.site(t, other)
	for _, to := range []struct {
		root string
		want bool
	}{{tg.root, true}, {other, false}, {tg.root, true}} {
		os.Remove(link)
		if err := os.Symlink(to.root, link); err != nil {
			t.Fatal(err)
		}
		tg.wantGiven(t, link, to.want)
	}
	// The approved path, become a link to a directory that is not.
	if err := errors.Join(os.Rename(tg.root, tg.dir+"/away"), os.Symlink(other, tg.root)); err != nil {
		t.Fatal(err)
	}
	tg.wantGiven(t, tg.root, false)
}

// A bind mount is another directory: its path is not the one that was approved. It
// is made where no other process sees it, with a daemon of its own inside.
func TestBoundDirectory(t *testing.T) {
	tg := newTarget(t)
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Logf("no bind mount can be made here: %v: %s", err, out)
		return
	}
	bound := tg.dir + "/bound"
	if err := os.Mkdir(bound, 0o755); err != nil {
		t.Fatal(err)
	}
	tg.own(t, bound)
	show := tg.keyrack.exe + ` exec -- sh -c 'echo "A=$A"'`
	script := `mount --bind "$0" "$1" || exit 9
drop() { if [ "$(id -u)" = 0 ]; then setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"; else "$@"; fi; }
cd "$1"; drop ` + show + `; echo "bound $?"
cd "$0"; drop ` + show + `; echo "root $?"
drop ` + tg.keyrack.exe + ` daemon stop`
	cmd := tg.call("-m", "sh", "-c", script, tg.root, bound)
	cmd.SysProcAttr = nil // mounts are root's
	var err error
	if cmd.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	cmd.Args[0] = "unshare"
	out, err := cmd.CombinedOutput()
	at, there, _ := strings.Cut(string(out), "bound ")
	if err != nil || !strings.Contains(at, "not allowed") || strings.Contains(at, tg.value[1]) || !strings.HasPrefix(there, "3\n") {
		t.Errorf("at the bind mount: %v, %d bytes, exit %.1s", err, len(at), there)
	}
	if !strings.Contains(there, tg.value[1]) || !strings.Contains(there, "root 0") {
		t.Errorf("at the approved path: %d bytes", len(there))
	}
}
