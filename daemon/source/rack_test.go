package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestValuesComeBack(t *testing.T) {
	r, key := newRack(t)
	values := odd()
	for name, value := range values {
		if name[0] == 'B' && len(name) == 3 { // single bytes: TestContentIsTOML and ALL have them
			continue
		}
		set(t, r, key, "acme/api", name, value)
	}
	for _, name := range []string{"ALL", "EMPTY", "NEWLINE", "CUT", "LONG"} {
		if get(t, r, key, "acme/api", name) != values[name] {
			t.Errorf("%s came back as another", name)
		}
	}
	got, err := r.Read(t.Context(), key, "other", []string{"ALL"})
	if err != nil || len(got) != 0 {
		t.Errorf("another worksite has %d values, %v", len(got), err)
	}
}

func TestSetReplacesAndRemoveRemoves(t *testing.T) {
	r, key := newRack(t)
	set(t, r, key, "b", "X", "1")
	set(t, r, key, "a", "Y", "2")
	set(t, r, key, "b", "A", "3")
	set(t, r, key, "b", "X", "4")
	if got := get(t, r, key, "b", "X"); got != "4" {
		t.Errorf("X is %q", got)
	}
	items, err := r.List(t.Context(), key, "")
	if err != nil || !slices.Equal(items, []Item{{"a", "Y"}, {"b", "A"}, {"b", "X"}}) {
		t.Errorf("%v, %v", items, err)
	}
	if err := r.Remove(t.Context(), key, "b", "X"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X", "Z"} {
		if err := r.Remove(t.Context(), key, "b", name); !errors.Is(err, ErrNotFound) {
			t.Errorf("removing what is not there: %v", err)
		}
	}
	if items, err := r.List(t.Context(), key, "b"); err != nil || !slices.Equal(items, []Item{{"b", "A"}}) {
		t.Errorf("%v, %v", items, err)
	}
	for _, bad := range [][2]string{{"", "X"}, {"a", ""}, {"a", "X Y"}, {"a", "ä"}, {"\xff", "X"}} {
		wantOneLine(t, r.Set(t.Context(), key, bad[0], bad[1], nil), nil, "the name")
	}
}

func TestNoRack(t *testing.T) {
	r, key := newRack(t)
	other := Rack{t.TempDir()}
	_, err := other.Read(t.Context(), key, "a", []string{"X"})
	for _, err := range []error{err, other.Set(t.Context(), key, "a", "X", nil), other.Remove(t.Context(), key, "a", "X"), other.CheckKey(key)} {
		if !errors.Is(err, ErrNoRack) {
			t.Errorf("error %v", err)
		}
	}
	if kind, err := other.Kind(); kind != "" || err != nil {
		t.Errorf("kind %q, %v", kind, err)
	}
	if found := files(t, other.Dir); found != "" {
		t.Errorf("left %s", found)
	}
	if kind, err := r.Kind(); kind != None || err != nil {
		t.Errorf("kind %q, %v", kind, err)
	}
}

func TestAgeReadsTheRack(t *testing.T) {
	r, key := newRack(t)
	set(t, r, key, "acme/api", "DATABASE_URL", "postgres://ü")
	out, err := exec.Command("age", "-d", "-i", r.KeyFile(None), r.File()).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := heading + "\n[\"acme/api\"]\nDATABASE_URL = \"postgres://ü\"\n"; string(out) != want {
		t.Errorf("age has\n%s", out)
	}
	// And the other way round: a person edits the rack with age.
	public, err := exec.Command("age-keygen", "-y", r.KeyFile(None)).Output()
	if err != nil {
		t.Fatal(err)
	}
	edit := exec.Command("age", "-r", strings.TrimSpace(string(public)), "-o", r.File())
	edit.Stdin = strings.NewReader(string(out) + "MORE = \"2\"\n")
	if out, err := edit.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := get(t, r, key, "acme/api", "MORE"); got != "2" {
		t.Errorf("MORE is %q", got)
	}
}

func TestOnlyItsKeyOpensARack(t *testing.T) {
	r, key := newRack(t)
	_, other := newRack(t)
	if err := r.CheckKey(key); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{"another": other, "none": nil, "text": []byte("not a key"), "cut": key[:len(key)-1], "two lines": append(bytes.Clone(key), '\n')} {
		err := r.CheckKey(bad)
		if !errors.Is(err, ErrWrongKey) || len(bad) > 20 && strings.Contains(err.Error(), string(bad[16:])) {
			t.Errorf("%s: another error, or one with the key", name)
		}
		if err := r.Set(t.Context(), bad, "a", "X", nil); !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s: set with a wrong key: %v", name, err)
		}
	}
}

// A rack that is cut anywhere, or changed anywhere, is an error for everybody, and
// it stays as it is.
func TestDamagedRackStays(t *testing.T) {
	r, key := newRack(t)
	set(t, r, key, "acme/api", "X", "MARKER")
	whole, err := os.ReadFile(r.File())
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, damaged []byte) {
		t.Helper()
		if err := os.WriteFile(r.File(), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.Read(t.Context(), key, "acme/api", []string{"X"})
		for _, err := range []error{err, r.Set(t.Context(), key, "acme/api", "Y", []byte("1"))} {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrWrongKey) || strings.Contains(err.Error(), "MARKER") {
				t.Fatalf("%s at %d: %v", what, at, err)
			}
		}
		if at%40 == 0 {
			if _, _, err := r.Create(t.Context(), Lock{Kind: None}); !errors.Is(err, ErrExists) {
				t.Fatalf("%s at %d: create: %v", what, at, err)
			}
		}
		if now, err := os.ReadFile(r.File()); err != nil || !bytes.Equal(now, damaged) {
			t.Fatalf("%s at %d: the rack was replaced: %v", what, at, err)
		}
	}
	for i := range whole {
		check("cut", i, whole[:i])
		changed := bytes.Clone(whole)
		changed[i] ^= 0x01
		check("changed", i, changed)
	}
	check("longer", len(whole), append(bytes.Clone(whole), 'x'))
	check("no age file", 0, []byte("text\n"))
}

func TestForeignContentIsDamage(t *testing.T) {
	r, key := newRack(t)
	identity, err := identityOf(key)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	if err := seal(&sealed, []byte("MARKER = 1\n"), identity.Recipient()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.File(), sealed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = r.Read(t.Context(), key, "a", nil)
	wantOneLine(t, err, ErrDamaged, "line 1 of its content")
	if strings.Contains(err.Error(), "MARKER") {
		t.Error("the error quotes the content")
	}
}

func TestTwoWritersLoseNothing(t *testing.T) {
	r, key := newRack(t)
	const writers, each = 4, 15
	var working sync.WaitGroup
	for w := range writers {
		working.Go(func() {
			for i := range each {
				if err := r.Set(t.Context(), key, "acme/api", fmt.Sprintf("W%d_%d", w, i), []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	if items, err := r.List(t.Context(), key, ""); err != nil || len(items) != writers*each {
		t.Errorf("%d values of %d, %v", len(items), writers*each, err)
	}
	if found := files(t, r.Dir); found != "identity 600, lock 600, rack.age 600, rack.age.lock 600" {
		t.Errorf("the directory has %s", found)
	}
}

// Writers that are killed at any moment lose nothing that they said was kept, and
// leave nothing that the next writer does not take away.
func TestKilledWritersLoseNothing(t *testing.T) {
	r, key := newRack(t)
	kept := -1
	for round := range 10 {
		cmd := command(t, "write", r)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("the writer said %q", lines.Text())
			}
			kept = max(kept, n)
			if n == 3+round {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		for i := range kept + 1 {
			if get(t, r, key, "acme/api", "N"+strconv.Itoa(i)) != strconv.Itoa(i) {
				t.Fatalf("round %d: value %d is another", round, i)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(r.Dir, strings.Replace(temporary, "*", "1", 1)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	set(t, r, key, "acme/api", "X", "1")
	if found := files(t, r.Dir); strings.Contains(found, "tmp") {
		t.Errorf("the directory has %s", found)
	}
}

func TestFullDiskKeepsTheRack(t *testing.T) {
	r, key := newRack(t)
	set(t, r, key, "acme/api", "X", "1")
	out, err := command(t, "full", r).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "writing "+r.File()) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("a writer without space: %v: %s", err, out)
	}
	if got := get(t, r, key, "acme/api", "X"); got != "1" {
		t.Errorf("X is %q", got)
	}
	if found := files(t, r.Dir); strings.Contains(found, "tmp") {
		t.Errorf("the directory has %s", found)
	}
}

func TestWaitForAnotherWriterIsBounded(t *testing.T) {
	r, key := newRack(t)
	release, err := r.lockWrites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantOneLine(t, r.Set(ctx, key, "a", "X", nil), context.DeadlineExceeded, "another writer")
	done := make(chan error)
	go func() { done <- r.Set(context.Background(), key, "a", "X", []byte("1")) }()
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Read(canceled, key, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("read after the end: %v", err)
	}
}

// What is no file is refused, without a wait; what is too big is not read.
func TestOddFilesAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(path string) error
		want string
	}{
		"pipe":      {func(path string) error { return unix.Mkfifo(path, 0o600) }, "not a regular file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"big": {func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxRack+1))
		}, "over 64 MiB"},
	} {
		r, key := newRack(t)
		if err := errors.Join(os.Remove(r.File()), tt.make(r.File())); err != nil {
			t.Fatal(err)
		}
		_, err := r.Read(t.Context(), key, "a", nil)
		wantOneLine(t, err, nil, tt.want)
		if err := r.Set(t.Context(), key, "a", "X", nil); err == nil {
			t.Errorf("%s: set works", name)
		}
	}
}

func TestRackHasALimit(t *testing.T) {
	r, key := newRack(t)
	err := r.Set(t.Context(), key, "a", "X", make([]byte, maxRack))
	wantOneLine(t, err, nil, "the rack would be over 64 MiB")
	if items, err := r.List(t.Context(), key, ""); err != nil || len(items) != 0 {
		t.Errorf("%v, %v", items, err)
	}
}

// A person may keep the rack elsewhere, such as in a directory that is synced.
func TestLinkedRackStaysLinked(t *testing.T) {
	r, key := newRack(t)
	elsewhere := filepath.Join(t.TempDir(), "synced.age")
	if err := errors.Join(os.Rename(r.File(), elsewhere), os.Symlink(elsewhere, r.File())); err != nil {
		t.Fatal(err)
	}
	set(t, r, key, "a", "X", "1")
	if info, err := os.Lstat(r.File()); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is gone: %v", err)
	}
	if got := get(t, r, key, "a", "X"); got != "1" {
		t.Errorf("X is %q", got)
	}
}
