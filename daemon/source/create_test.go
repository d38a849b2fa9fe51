package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cheap keeps the tests from a second of work for each passphrase.
func cheap(passphrase string) Lock {
	return Lock{Kind: Passphrase, Passphrase: []byte(passphrase), cost: 4}
}

func TestCreateNone(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	r, key := newRack(t)
	if found := files(t, filepath.Dir(r.Dir)); found != "keyrack 700, identity 600, lock 600, rack.age 600, rack.age.lock 600" {
		t.Errorf("made %s", found)
	}
	if again, err := r.Key(t.Context(), ""); err != nil || !bytes.Equal(again, key) {
		t.Errorf("the key is another, %v", err)
	}
	before, err := os.ReadFile(r.File())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Lock{{Kind: None}, cheap("x"), {Kind: Keyring}} {
		_, _, err := r.Create(t.Context(), l)
		wantOneLine(t, err, ErrExists, r.File())
	}
	if after, err := os.ReadFile(r.File()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the rack was replaced: %v", err)
	}
}

func TestCreatePassphrase(t *testing.T) {
	r := Rack{t.TempDir() + "/keyrack"}
	key, reused, err := r.Create(t.Context(), cheap("correct horse"))
	if err != nil || reused {
		t.Fatalf("reused %v, %v", reused, err)
	}
	if found := files(t, r.Dir); found != "identity.age 600, lock 600, rack.age 600, rack.age.lock 600" {
		t.Errorf("made %s", found)
	}
	if again, err := r.KeyFromPassphrase([]byte("correct horse")); err != nil || !bytes.Equal(again, key) {
		t.Errorf("the key is another, %v", err)
	}
	for _, wrong := range []string{"", "correct", "correct horse\n"} {
		if _, err := r.KeyFromPassphrase([]byte(wrong)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("a wrong passphrase: %v", err)
		}
	}
	_, err = r.Key(t.Context(), "")
	wantOneLine(t, err, nil, "a person has to give")
	sealed, err := os.ReadFile(r.KeyFile(Passphrase))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		if err := os.WriteFile(r.KeyFile(Passphrase), sealed[:i], 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := r.KeyFromPassphrase([]byte("correct horse")); got != nil || err == nil {
			t.Fatalf("cut at %d: a key of %d bytes, %v", i, len(got), err)
		}
	}
	if err := os.Remove(r.KeyFile(Passphrase)); err != nil {
		t.Fatal(err)
	}
	_, err = r.KeyFromPassphrase([]byte("correct horse"))
	wantOneLine(t, err, nil, "is missing")
}

// The real cost, and age itself opens what it protects.
func TestPassphraseIsAge(t *testing.T) {
	r := Rack{t.TempDir()}
	key, _, err := r.Create(t.Context(), Lock{Kind: Passphrase, Passphrase: []byte("correct horse")})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(r.KeyFile(Passphrase))
	if err != nil {
		t.Fatal(err)
	}
	if header, _, _ := bytes.Cut(sealed, []byte("\n---")); !bytes.HasSuffix(bytes.Split(header, []byte("\n"))[1], []byte(" 18")) {
		t.Errorf("the header is\n%s", header)
	}
	again, err := r.KeyFromPassphrase([]byte("correct horse"))
	if err != nil || !bytes.Equal(again, key) {
		t.Errorf("the key is another, %v", err)
	}
}

func TestEmptyPassphraseMakesNothing(t *testing.T) {
	r := Rack{t.TempDir()}
	_, _, err := r.Create(t.Context(), cheap(""))
	wantOneLine(t, err, nil, "not empty")
	if found := files(t, r.Dir); found != "rack.age.lock 600" {
		t.Errorf("left %s", found)
	}
}

func TestUnknownLock(t *testing.T) {
	r := Rack{t.TempDir()}
	_, _, err := r.Create(t.Context(), Lock{Kind: "tpm"})
	wantOneLine(t, err, nil, "no kind of lock")
	if found := files(t, r.Dir); found != "rack.age.lock 600" {
		t.Errorf("left %s", found)
	}
}

// Whatever step of it fails, Create leaves nothing that looks like a rack or a
// key.
func TestFailedCreateLeavesNothing(t *testing.T) {
	block := func(name string) func(t *testing.T, r Rack) {
		return func(t *testing.T, r Rack) {
			if err := os.MkdirAll(filepath.Join(r.Dir, name, "in the way"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, r Rack)
		lock  Lock
		left  string
	}{
		"the lock's word":           {block("lock"), Lock{Kind: None}, "lock 700, in the way 700, rack.age.lock 600"},
		"the lock's word, password": {block("lock"), cheap("x"), "lock 700, in the way 700, rack.age.lock 600"},
		"the identity":              {block("identity"), Lock{Kind: None}, "identity 700, in the way 700, rack.age.lock 600"},
		"the sealed identity":       {block("identity.age"), cheap("x"), "identity.age 700, in the way 700, rack.age.lock 600"},
		"the writers' lock":         {block("rack.age.lock"), Lock{Kind: None}, "rack.age.lock 700, in the way 700"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Rack{t.TempDir() + "/keyrack"}
			tt.spoil(t, r)
			if _, _, err := r.Create(t.Context(), tt.lock); err == nil {
				t.Fatal("a rack is made")
			}
			if found := files(t, r.Dir); found != tt.left {
				t.Errorf("left %s", found)
			}
			if kind, err := r.Kind(); kind != "" || err != nil {
				t.Errorf("kind %q, %v", kind, err)
			}
		})
	}
}

// The last step fails: the key that was made for it is gone too.
func TestCreateOnAFullDisk(t *testing.T) {
	r := Rack{t.TempDir()}
	out, err := command(t, "create-full", r, None).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "writing "+r.File()) {
		t.Errorf("%v: %s", err, out)
	}
	if found := files(t, r.Dir); found != "rack.age.lock 600" {
		t.Errorf("left %s", found)
	}
}

func TestCreateInAReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	r := Rack{dir + "/keyrack"}
	cmd := command(t, "create", r, None)
	if os.Geteuid() == 0 { // root may write everywhere: somebody else tries
		asNobody(t, cmd, dir)
	} else if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("%v: %s", err, out)
	}
	if found := files(t, dir); found != "" {
		t.Errorf("left %s", found)
	}
}

// asNobody has cmd run as another user who can reach dir and not write there.
func asNobody(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	for path := dir; path != "/"; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(path, info.Mode().Perm()|0o011); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(path, info.Mode().Perm()) })
		}
	}
	program, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	cmd.Path = shared + "/exe"
	if err := errors.Join(os.WriteFile(cmd.Path, program, 0o755), os.Chmod(shared, 0o755), os.Chmod(cmd.Path, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// Killed at any moment, a Create leaves either a whole rack or none, and the next
// one goes through.
func TestKilledCreate(t *testing.T) {
	made := 0
	for round := range 24 {
		r := Rack{t.TempDir() + "/keyrack"}
		cmd := command(t, "create", r, None)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(round) * 300 * time.Microsecond) // where in it, chance decides
		cmd.Process.Kill()
		cmd.Wait()
		kind, err := r.Kind()
		if err != nil || kind != "" && kind != None {
			t.Fatalf("kind %q, %v", kind, err)
		}
		if kind == "" {
			if _, _, err := r.Create(t.Context(), Lock{Kind: None}); err != nil {
				t.Fatalf("after %s: %v", files(t, r.Dir), err)
			}
		} else {
			made++
		}
		key, err := r.Key(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		set(t, r, key, "a", "X", "1")
	}
	t.Logf("%d of 24 were too late", made)
}

// The key that an earlier rack left is used again, because a copy of that rack
// may still exist; one of another kind of lock is not passed over.
func TestLeftKeyIsKept(t *testing.T) {
	r, key := newRack(t)
	if err := os.Remove(r.File()); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.Create(t.Context(), cheap("x"))
	wantOneLine(t, err, nil, r.KeyFile(None)+" is in the way")
	again, reused, err := r.Create(t.Context(), Lock{Kind: None})
	if err != nil || !reused || !bytes.Equal(again, key) {
		t.Errorf("reused %v, %v", reused, err)
	}

	sealed := Rack{t.TempDir()}
	if key, _, err = sealed.Create(t.Context(), cheap("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(sealed.File()); err != nil {
		t.Fatal(err)
	}
	_, _, err = sealed.Create(t.Context(), cheap("y"))
	wantOneLine(t, err, ErrPassphrase, "give that one")
	_, _, err = sealed.Create(t.Context(), Lock{Kind: None})
	wantOneLine(t, err, nil, "is in the way")
	again, reused, err = sealed.Create(t.Context(), cheap("x"))
	if err != nil || !reused || !bytes.Equal(again, key) {
		t.Errorf("reused %v, %v", reused, err)
	}
}

func TestIdentityFileIsChecked(t *testing.T) {
	r, key := newRack(t)
	path := r.KeyFile(None)
	write := func(text string, mode os.FileMode) func() error {
		return func() error { return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)) }
	}
	for name, tt := range map[string]struct {
		make func() error
		want string // "" where it is good
	}{
		"bare":             {write(string(key), 0o600), ""},
		"as of age-keygen": {write("# created: now\n# public key: age1x\n"+string(key)+"\n\n", 0o400), ""},
		"others may read":  {write(string(key), 0o640), "mode 640"},
		"two keys":         {write(string(key)+"\n"+string(key)+"\n", 0o600), "more than one key"},
		"empty":            {write("", 0o600), "no age identity"},
		"cut":              {write(string(key[:40]), 0o600), "no age identity"},
		"big":              {write(strings.Repeat("#\n", maxSmall), 0o600), "over 64 KiB"},
		"a pipe":           {func() error { return unix.Mkfifo(path, 0o600) }, "not a regular file"},
		"missing":          {func() error { return nil }, "is missing"},
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := tt.make(); err != nil {
			t.Fatal(err)
		}
		got, err := r.Key(t.Context(), "")
		switch {
		case tt.want == "" && (err != nil || !bytes.Equal(got, key)):
			t.Errorf("%s: another key, or %v", name, err)
		case tt.want != "":
			wantOneLine(t, err, nil, tt.want)
			if err != nil && strings.Contains(err.Error(), string(key[:30])) {
				t.Errorf("%s: the error has the key", name)
			}
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := errors.Join(write(string(key), 0o600)(), os.Chown(path, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		_, err := r.Key(t.Context(), "")
		wantOneLine(t, err, nil, "another user")
	}
}

func TestKindIsOneWord(t *testing.T) {
	r, _ := newRack(t)
	for text, want := range map[string]string{"passphrase\n": Passphrase, "keyring": Keyring, "None\n": "", "": "", "none none": ""} {
		if err := os.WriteFile(r.kindFile(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		kind, err := r.Kind()
		if kind != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", text, kind, err)
		}
		if err != nil {
			wantOneLine(t, err, nil, r.kindFile()+":1:1: ")
		}
	}
	if err := os.Remove(r.kindFile()); err != nil {
		t.Fatal(err)
	}
	_, err := r.Kind()
	wantOneLine(t, err, nil, "is missing")
}

// A directory that was open to others is closed.
func TestCreateClosesItsDirectory(t *testing.T) {
	r := Rack{t.TempDir() + "/a/keyrack"}
	if err := errors.Join(os.MkdirAll(r.Dir, 0o755), os.Chmod(r.Dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Create(t.Context(), Lock{Kind: None}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(r.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestCreateGivesUp(t *testing.T) {
	r := Rack{t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Create(ctx, Lock{Kind: None}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if found := files(t, r.Dir); found != "rack.age.lock 600" {
		t.Errorf("left %s", found)
	}
}
