package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be other processes of a test.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || strings.HasPrefix(os.Args[1], "-test") {
		os.Exit(m.Run())
	}
	if err := role(os.Args[1], os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func role(name, arg string) error {
	switch name {
	case "wait": // until standard input ends; arg is for who looks at the process
		_, err := os.Stdin.Read(make([]byte, 1))
		return ignoreEOF(err)
	case "become": // wait, then be another program
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return err
		}
		return syscall.Exec(arg, []string{arg, "wait", "x"}, os.Environ())
	case "log": // three lines, and what became of them
		l := Open(arg)
		for i := range 3 {
			l.Add(Entry{Event: Get, Names: []string{"N" + strconv.Itoa(i)}})
		}
		l.Close()
		fmt.Println(l.Health())
		return nil
	case "full":
		return onFullDisk(arg)
	}
	return errors.New("unknown role")
}

func ignoreEOF(err error) error {
	if err != nil && err.Error() == "EOF" {
		return nil
	}
	return err
}

func newDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state", "keyrack") }

// read returns the log's entries, and the errors of its damaged lines.
func read(t testing.TB, dir string) (entries []Entry, damaged []string) {
	t.Helper()
	err := Read(dir, func(l Line) bool {
		if l.Err != nil {
			damaged = append(damaged, strings.TrimPrefix(l.Err.Error(), dir+"/"))
		} else {
			entries = append(entries, l.Entry)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries, damaged
}

func causes(entries []Entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Cause)
	}
	return strings.Join(all, " ")
}

func flush(t testing.TB, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// child starts this program in another role, with a pipe that ends it.
func child(t *testing.T, args ...string) (*exec.Cmd, func(text string)) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return cmd, func(text string) {
		if _, err := in.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

// await waits for a condition, without a fixed sleep.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

// onFullDisk writes into files that can't grow past 500 bytes, in the middle of a
// line, and then into ones that can.
func onFullDisk(dir string) error {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	l := Open(dir)
	limit := func(size uint64) error {
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: was.Max})
	}
	if err := limit(500); err != nil {
		return err
	}
	for i := range 10 {
		l.Add(Entry{Event: Grant, Cause: strconv.Itoa(i), Site: strings.Repeat("s", 100)})
	}
	if err := l.Flush(context.Background()); err != nil {
		return err
	}
	fmt.Println(l.Health())
	if err := limit(was.Cur); err != nil {
		return err
	}
	for i := range 2 {
		l.Add(Entry{Event: Grant, Cause: "after" + strconv.Itoa(i)})
	}
	if err := l.Close(); err != nil {
		return err
	}
	fmt.Println(l.Health())
	return nil
}
