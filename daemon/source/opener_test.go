package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rackChild is the process that opens the rack, or with $FAKE another one that
// answers something else.
func rackChild() int {
	head := func(kind byte, index, size uint32) []byte {
		return answerHead{kind: kind, index: index, size: size}.append(nil)
	}
	switch os.Getenv("FAKE") {
	case "dies":
		return 1
	case "hangs":
		io.Copy(io.Discard, os.Stdin)
	case "garbage":
		os.Stdout.Write(bytes.Repeat([]byte("x"), 1000))
	case "cut":
		os.Stdout.Write(append(head(answerValue, 0, 100), "MARKER"...))
	case "huge":
		os.Stdout.Write(head(answerValue, 0, 1<<32-1))
	case "other name":
		os.Stdout.Write(head(answerValue, 7, 1))
	case "long error":
		os.Stdout.Write(head(answerError, 0, 1<<20))
	case "odd error":
		os.Stdout.Write(append(head(answerError, 2, 8), "a\x1b[2J\nb\x00"...))
	case "floods":
		for {
			if _, err := os.Stdout.Write(append(head(answerValue, 0, 6), "MARKER"...)); err != nil {
				return 1
			}
		}
	default:
		return RackChild(os.Stdin, os.Stdout)
	}
	return 0
}

// newOpener opens r by processes of this test's program.
func newOpener(t testing.TB, r Rack) Opener {
	return Opener{Rack: r, Program: self(t), Environ: []string{"PATH=" + os.Getenv("PATH")}}
}

// fetch is what o reads, by name.
func fetch(t testing.TB, o Opener, key []byte, site string, names ...string) (map[string][]byte, error) {
	t.Helper()
	values := map[string][]byte{}
	err := o.Read(t.Context(), key, site, names, func(name string, size int, until time.Duration) ([]byte, error) {
		if until != 0 {
			t.Errorf("%s ends at %s", name, until)
		}
		values[name] = make([]byte, size)
		return values[name], nil
	})
	return values, err
}

func TestOpenerBringsValues(t *testing.T) {
	r, key := newRack(t)
	o := newOpener(t, r)
	want := map[string]string{"EMPTY": "", "LONG": strings.Repeat("v", 1<<20), "BYTES": "a\nb\xff\x01\\\"", "ONE": "1"}
	for name, value := range want {
		if err := o.Set(t.Context(), key, "acme/api", name, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range [][]byte{key, nil} { // given, or got by the process itself
		got, err := fetch(t, o, key, "acme/api", "LONG", "NONE", "EMPTY", "BYTES", "ONE")
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d values, %v", len(got), err)
		}
		for name, value := range want {
			if string(got[name]) != value {
				t.Errorf("%s came back as another", name)
			}
		}
	}
	if err := o.Remove(t.Context(), nil, "acme/api", "LONG"); err != nil {
		t.Error(err)
	}
	items, err := o.List(t.Context(), nil, "")
	if err != nil || !slices.Equal(items, []Item{{"acme/api", "BYTES"}, {"acme/api", "EMPTY"}, {"acme/api", "ONE"}}) {
		t.Errorf("%v, %v", items, err)
	}
	if err := o.CheckKey(t.Context(), key); err != nil {
		t.Error(err)
	}
	noRackProcesses(t)
}

// An error of the process is what it would be here: its type, and its one line.
func TestOpenerKeepsErrors(t *testing.T) {
	r, key := newRack(t)
	set(t, r, key, "a", "X", "1")
	_, other := newRack(t)
	damaged, damagedKey := newRack(t)
	if err := os.WriteFile(damaged.File(), []byte("MARKER"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := Rack{t.TempDir()}
	for name, tt := range map[string]struct {
		is  error
		ask func(o Opener) error
		r   Rack
	}{
		"no rack":   {ErrNoRack, func(o Opener) error { return o.Set(t.Context(), nil, "a", "X", nil) }, none},
		"not there": {ErrNotFound, func(o Opener) error { return o.Remove(t.Context(), nil, "a", "Z") }, r},
		"wrong key": {ErrWrongKey, func(o Opener) error { return o.CheckKey(t.Context(), other) }, r},
		"no key":    {ErrWrongKey, func(o Opener) error { return o.CheckKey(t.Context(), nil) }, r},
		"damaged":   {ErrDamaged, func(o Opener) error { _, err := o.List(t.Context(), damagedKey, ""); return err }, damaged},
		"bad name":  {nil, func(o Opener) error { return o.Set(t.Context(), nil, "a", "X Y", nil) }, r},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.ask(newOpener(t, tt.r))
			wantOneLine(t, err, tt.is, "")
			if err != nil && strings.Contains(err.Error(), "MARKER") {
				t.Error("the error quotes the file")
			}
		})
	}
}

// What a broken process says is one line at most, and costs no more than it sends.
func TestOpenerTrustsNoAnswer(t *testing.T) {
	r, _ := newRack(t)
	o := newOpener(t, r)
	for fake, want := range map[string]string{
		"dies": "died", "garbage": "malformed", "cut": "died", "huge": "malformed", "other name": "malformed",
		"long error": "malformed", "odd error": "a[2J",
	} {
		t.Run(fake, func(t *testing.T) {
			o.Environ = []string{"FAKE=" + fake}
			_, err := fetch(t, o, nil, "a", "X")
			wantOneLine(t, err, nil, want)
			if strings.Contains(err.Error(), "MARKER") {
				t.Error("the error has what was read")
			}
		})
	}
	noRackProcesses(t)
}

// The room's own error comes back as it is, and the process goes.
func TestOpenerWithoutRoom(t *testing.T) {
	r, key := newRack(t)
	set(t, r, key, "a", "X", "1")
	full := errors.New("full")
	err := newOpener(t, r).Read(t.Context(), nil, "a", []string{"X"}, func(string, int, time.Duration) ([]byte, error) { return nil, full })
	if err != full {
		t.Errorf("error %v", err)
	}
	noRackProcesses(t)
}

func TestOpenerEndsInTime(t *testing.T) {
	r, _ := newRack(t)
	release, err := r.lockWrites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, fake := range []string{"", "hangs", "floods"} {
		o := newOpener(t, r)
		o.Environ = append(o.Environ, "FAKE="+fake)
		ask := func(ctx context.Context) error {
			if fake == "floods" { // a process whose answer has no end
				return o.Read(ctx, nil, "a", []string{"X"}, func(string, int, time.Duration) ([]byte, error) { return make([]byte, 6), nil })
			}
			return o.Set(ctx, nil, "a", "X", bytes.Repeat([]byte("v"), 1<<20))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		err := ask(ctx)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 20*time.Second {
			t.Errorf("%q: after %s: %v", fake, took, err)
		}
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- ask(ctx) }()
		await(t, "the process to run", func() bool { return len(rackProcesses(t, os.Getpid())) > 0 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%q: canceled: %v", fake, err)
		}
		noRackProcesses(t)
	}
}

// When the process that asks is gone, so is the one that opens.
func TestOpenerGoesWithItsParent(t *testing.T) {
	r, _ := newRack(t)
	release, err := r.lockWrites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	cmd := command(t, "open", r)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	await(t, "the process to run", func() bool {
		pids = rackProcesses(t, cmd.Process.Pid)
		return len(pids) == 1
	})
	cmd.Process.Kill()
	cmd.Wait()
	await(t, "the process to go", func() bool { return syscall.Kill(pids[0], 0) != nil })
}

// The process has the environment that it is given, standard files, and nothing
// that its parent has open.
func TestOpenerInheritsNothing(t *testing.T) {
	t.Setenv("MARKER", "1")
	r, _ := newRack(t)
	release, err := r.lockWrites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	path := filepath.Join(t.TempDir(), "MARKER")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600) // no O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- newOpener(t, r).Set(ctx, nil, "a", "X", nil) }()
	defer func() { cancel(); <-done }()
	proc := ""
	await(t, "the process to wait for the other writer", func() bool {
		pids := rackProcesses(t, os.Getpid())
		if len(pids) != 1 {
			return false
		}
		proc = "/proc/" + strconv.Itoa(pids[0])
		return slices.Contains(links(proc), r.writersLock())
	})
	if open := links(proc); slices.Contains(open, path) {
		t.Errorf("it has %q", open)
	}
	environ, err := os.ReadFile(proc + "/environ")
	if err != nil || strings.Contains(string(environ), "MARKER") {
		t.Errorf("its environment: %v", err)
	}
	limits, err := os.ReadFile(proc + "/limits")
	if err != nil || !strings.Contains(string(limits), "Max core file size        0 ") {
		t.Errorf("it may leave a core, %v", err)
	}
	if cmdline, _ := os.ReadFile(proc + "/cmdline"); !strings.HasSuffix(string(cmdline), "\x00__rack\x00") {
		t.Errorf("its command line is %q", cmdline)
	}
}

func links(proc string) (open []string) {
	entries, _ := os.ReadDir(proc + "/fd")
	for _, e := range entries {
		link, _ := os.Readlink(proc + "/fd/" + e.Name())
		open = append(open, link)
	}
	return open
}

// rackProcesses are the processes that open a rack for parent.
func rackProcesses(t *testing.T, parent int) (pids []int) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, proc := range procs {
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		status, _ := os.ReadFile(proc + "/status")
		if strings.HasSuffix(string(cmdline), "\x00__rack\x00") && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			pid, _ := strconv.Atoi(filepath.Base(proc))
			pids = append(pids, pid)
		}
	}
	return pids
}

func noRackProcesses(t *testing.T) {
	t.Helper()
	await(t, "every process that opens the rack to be gone", func() bool { return len(rackProcesses(t, os.Getpid())) == 0 })
}

func BenchmarkOpen(b *testing.B) {
	r, key := newRack(b)
	set(b, r, key, "a", "X", "1")
	o := newOpener(b, r)
	for b.Loop() {
		if _, err := fetch(b, o, nil, "a", "X"); err != nil {
			b.Fatal(err)
		}
	}
}
