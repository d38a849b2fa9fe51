package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWritten(t *testing.T) {
	dir := newDir(t)
	l := Open(dir)
	want := Entry{Event: Grant, Status: "missing", Site: "acme/api", Root: "/w", Names: []string{"A", "B"},
		Process: Process{PID: 7, Exe: "/bin/zsh", Command: "make", TTY: "pts/1", ParentPID: 6, Parent: "tmux", Client: 8, UID: 1000, Session: "3"}}
	l.Add(want)
	flush(t, l)
	entries, _ := read(t, dir)
	if len(entries) != 1 || time.Since(entries[0].Time) > time.Minute || entries[0].Time.Location() != time.UTC {
		t.Fatalf("%+v", entries)
	}
	want.Time = entries[0].Time
	if !reflect.DeepEqual(entries[0], want) {
		t.Errorf("%+v\nwant %+v", entries[0], want)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, Path(dir): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	text, err := os.ReadFile(Path(dir))
	if err != nil || !strings.HasPrefix(string(text), `{"time":"2`) || !strings.Contains(string(text), `Z","event":"grant",`) {
		t.Errorf("%s, %v", text, err)
	}
	l.Add(Entry{Event: Stop})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := read(t, dir); len(entries) != 2 || entries[1].Event != Stop {
		t.Errorf("after Close: %+v", entries)
	}
	l.Add(Entry{Event: Stop}) // too late: dropped, not a panic
}

func TestNilLog(t *testing.T) {
	var l *Log
	l.Add(Entry{})
	if dropped, err := l.Health(); dropped != 0 || err != nil || l.Flush(t.Context()) != nil || l.Close() != nil {
		t.Error("a nil log has something to say")
	}
}

// Several writers at once, with files so small that they are turned over all the
// time: nothing is lost, nothing is torn, no file is too big.
func TestTurnedOver(t *testing.T) {
	const writers, each, size = 4, 300, 4 << 10
	dir := newDir(t)
	var running sync.WaitGroup
	for w := range writers {
		l := open(&file{dir: dir, max: size, keep: 100, wait: time.Minute}, nil)
		running.Go(func() {
			for i := range each {
				l.Add(Entry{Event: Grant, Cause: fmt.Sprintf("%d-%d", w, i)})
				if i%10 == 0 {
					flush(t, l)
				}
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	paths, err := filepath.Glob(Path(dir) + "*")
	if err != nil || len(paths) < writers*each*80/size {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	seen := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil || len(text) > size {
			t.Errorf("%s: %d bytes, %v", path, len(text), err)
		}
		for line := range strings.Lines(string(text)) {
			e, err := parse([]byte(line))
			if err != nil || seen[e.Cause] {
				t.Errorf("%s: %q twice, or %v", path, e.Cause, err)
			}
			seen[e.Cause] = true
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d lines of %d", len(seen), writers*each)
	}
}

func TestOldFilesGo(t *testing.T) {
	dir := newDir(t)
	f := &file{dir: dir, max: 1000, keep: Keep}
	defer f.close()
	for i := range 200 {
		if n, err := f.append([][]byte{[]byte(line(strconv.Itoa(i)))}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	paths, _ := filepath.Glob(Path(dir) + "*")
	if len(paths) != Keep+1 {
		t.Errorf("%q", paths)
	}
	entries, damaged := read(t, dir)
	if len(entries) < 20 || len(damaged) > 0 {
		t.Fatalf("%d lines, damaged %q", len(entries), damaged)
	}
	if got := causes(entries[len(entries)-3:]); got != "197 198 199" {
		t.Errorf("the last are %s", got)
	}
}

// stuck is a disk that takes nothing until it is let.
type stuck struct {
	let chan struct{}
	f   *file
}

func (s *stuck) append(lines [][]byte) (int, error) { <-s.let; return s.f.append(lines) }
func (s *stuck) close()                             { s.f.close() }

// A disk that hangs delays nobody, takes bounded memory, and costs lines that are
// counted.
func TestHungDisk(t *testing.T) {
	dir := newDir(t)
	s := &stuck{let: make(chan struct{}), f: &file{dir: dir, max: MaxSize, keep: Keep}}
	l := open(s, nil)
	l.Add(Entry{Event: Grant, Cause: "first"})
	await(t, "the writer to hang", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.queue) == 0
	})
	began := time.Now()
	for i := range maxQueue + 100 {
		l.Add(Entry{Event: Grant, Cause: strconv.Itoa(i)})
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("adding took %s", took)
	}
	if dropped, err := l.Health(); dropped != 100 || err == nil {
		t.Errorf("%d dropped, %v", dropped, err)
	}
	close(s.let)
	flush(t, l)
	l.Add(Entry{Event: Grant, Cause: "next"})
	l.Close()
	if dropped, err := l.Health(); dropped != 100 || err != nil {
		t.Errorf("%d dropped, %v, after it worked again", dropped, err)
	}
	entries, _ := read(t, dir)
	if len(entries) != maxQueue+2 {
		t.Fatalf("%d lines", len(entries))
	}
	var said uint64
	for _, e := range entries {
		said += e.Dropped
	}
	if said != 100 {
		t.Errorf("the lines say that %d are missing", said)
	}
}

// A disk that is full in the middle of a line, and later has room again.
func TestFullDisk(t *testing.T) {
	dir := newDir(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(exe, "full", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	entries, damaged := read(t, dir)
	whole := len(entries) - 2
	if whole < 1 || whole > 4 {
		t.Fatalf("%d whole lines before the disk was full", whole)
	}
	first, second, _ := strings.Cut(string(out), "\n")
	lost := strconv.Itoa(10 - whole)
	if !strings.HasPrefix(first, lost+" ") || !strings.Contains(first, "file too large") || second != lost+" <nil>\n" {
		t.Errorf("health %q, with %d lines written", out, whole)
	}
	if e := entries[whole]; e.Cause != "after0" || strconv.FormatUint(e.Dropped, 10) != lost {
		t.Errorf("the next line: %+v", e)
	}
	if want := Name + ":" + strconv.Itoa(whole+1) + ": not a line of the audit log"; len(damaged) != 1 || damaged[0] != want {
		t.Errorf("damaged %q, want %q", damaged, want)
	}
}

// A line that another process left unfinished, which was killed, costs no other.
func TestOtherIsKilled(t *testing.T) {
	dir := newDir(t)
	l := Open(dir)
	for _, cause := range []string{"a", "b"} {
		l.Add(Entry{Event: Grant, Cause: cause})
		flush(t, l)
		f, err := os.OpenFile(Path(dir), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(`{"time":"20`)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	l.Add(Entry{Event: Grant, Cause: "c"})
	l.Close()
	if entries, damaged := read(t, dir); causes(entries) != "a b c" || len(damaged) != 2 {
		t.Errorf("%s, damaged %q", causes(entries), damaged)
	}
}

// Directories and files that can't be used, or that others may.
func TestUnusable(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"open directory": {func(dir string) error { return os.Chmod(dir, 0o755) }, "open to others (mode 755)"},
		"open file": {func(dir string) error {
			return errors.Join(os.WriteFile(Path(dir), nil, 0o600), os.Chmod(Path(dir), 0o644))
		}, "open to others (mode 644)"},
		"link":          {func(dir string) error { return os.Symlink("/dev/null", Path(dir)) }, "too many levels of symbolic links"},
		"pipe":          {func(dir string) error { return unix.Mkfifo(Path(dir), 0o600) }, "not a regular file"},
		"file in place": {func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, "not a directory"},
		"read-only":     {func(dir string) error { return os.Chmod(dir, 0o500) }, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			if err := errors.Join(os.MkdirAll(dir, 0o700), c.spoil(dir)); err != nil {
				t.Fatal(err)
			}
			out := asUser(t, dir)
			if !strings.HasPrefix(out, "3 ") || !strings.Contains(out, c.want) || strings.Count(out, "\n") != 1 {
				t.Errorf("%s", out)
			}
		})
	}
}

// asUser writes three lines as a user for whom file modes hold.
func asUser(t *testing.T, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Dir(filepath.Dir(dir))
	copied := top + "/program" // that the other user can reach
	data, err := os.ReadFile(exe)
	if err := errors.Join(err, os.WriteFile(copied, data, 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "log", dir)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		err := errors.Join(os.Chmod(filepath.Dir(top), 0o755), filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, 65534, 65534))
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// Who holds the log's lock and does not go on costs lines, and no waiting.
func TestLockHeld(t *testing.T) {
	dir := newDir(t)
	l := Open(dir)
	other := &file{dir: dir, max: MaxSize, keep: Keep}
	unlock, err := other.lock()
	if err != nil {
		t.Fatal(err)
	}
	l.Add(Entry{Event: Grant})
	flush(t, l)
	if dropped, err := l.Health(); dropped != 1 || err == nil || !strings.Contains(err.Error(), "another process holds it") {
		t.Errorf("%d dropped, %v", dropped, err)
	}
	unlock()
	l.Add(Entry{Event: Grant})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The directory is removed under a daemon that writes: it makes a new one.
func TestRemoved(t *testing.T) {
	dir := newDir(t)
	l := Open(dir)
	defer l.Close()
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	l.Add(Entry{Event: Grant, Cause: "x"})
	flush(t, l)
	if entries, _ := read(t, dir); causes(entries) != "x" {
		t.Errorf("%+v", entries)
	}
}

// Whatever the texts are, an entry is one line that reads back.
func FuzzLine(f *testing.F) {
	f.Add("acme/api", "A", "/w", "make")
	f.Add("\n\x00\xff", "\"}\n{\"event\":\"grant\"}", "\u2028", strings.Repeat("x", 10000))
	f.Fuzz(func(t *testing.T, site, name, root, command string) {
		e := Entry{Event: Grant, Site: site, Root: root, Time: time.Now(), Process: Process{Command: command, Exe: root}}
		for range 300 {
			e.Names = append(e.Names, name)
		}
		line := e.appendTo(nil)
		if n := strings.Count(string(line), "\n"); n != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("%d line ends in %q", n, line)
		}
		got, err := parse(line)
		if err != nil || len(got.Names)+got.More != 300 {
			t.Fatalf("%v, %d names and %d more", err, len(got.Names), got.More)
		}
		if got.Site != bounded(site) || got.Root != bounded(root) || got.Command != bounded(command) {
			t.Errorf("%+v", got)
		}
	})
}

// bounded is what becomes of a text in the file.
func bounded(text string) string {
	var b strings.Builder
	for i, r := range text {
		if i >= maxText {
			return b.String() + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Every field is written, in the form and order that its tag says.
func TestLine(t *testing.T) {
	e := Entry{Time: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)}
	fill(reflect.ValueOf(&e).Elem())
	e.Names = []string{"A", "B_1"}
	want, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(e.appendTo(nil)); got != string(want)+"\n" {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := string((&Entry{Time: e.Time, Event: Lock}).appendTo(nil)); got != `{"time":"2026-01-02T03:04:05.678Z","event":"lock","uid":0}`+"\n" {
		t.Errorf("%s", got)
	}
	e.Names, e.More = slices.Repeat([]string{strings.Repeat("N", 100)}, 1000), 0
	got, err := parse(e.appendTo(nil))
	if err != nil || len(got.Names) < 100 || len(got.Names)+got.More != 1000 || got.More == 0 {
		t.Errorf("%d names and %d more, %v", len(got.Names), got.More, err)
	}
}

// fill gives each field of a struct a text or a number of its own.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name)
		case reflect.Int:
			f.SetInt(int64(i) + 10)
		case reflect.Uint64:
			f.SetUint(uint64(i) + 10)
		case reflect.Struct:
			if f.Type() != reflect.TypeFor[time.Time]() {
				fill(f)
			}
		}
	}
}

// No field can take a value: all are texts that the daemon knows, numbers and
// the time.
func TestNoRoomForValues(t *testing.T) {
	var fields []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Entry]()) {
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() != reflect.String || f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Interface {
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
		fields = append(fields, f.Name)
	}
	const known = "Time Event Verb Status Cause Site Root Names More Process PID Exe Command TTY ParentPID Parent Client UID Session Dropped"
	if got := strings.Join(fields, " "); got != known {
		t.Errorf("fields %s\nwant %s: think about whether a value could get into the new one", got, known)
	}
}

func BenchmarkAdd(b *testing.B) {
	l := Open(newDir(b))
	defer l.Close()
	e := Entry{Event: Grant, Site: "acme/api", Root: "/home/me/src/api", Names: []string{"A", "B", "C"}, Process: Look(os.Getpid())}
	for b.Loop() {
		l.Add(e)
	}
	dropped, _ := l.Health()
	b.ReportMetric(float64(dropped), "dropped")
}
