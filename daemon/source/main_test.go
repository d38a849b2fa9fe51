package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be every other process of a test: the child that
// asks the keyring, and writers that are killed or find the disk full.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test") {
		os.Exit(m.Run())
	}
	code := 0
	if os.Args[1] == "__keyring" {
		code = KeyringChild(os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
	} else if os.Args[1] == "__rack" {
		code = rackChild()
	} else if os.Args[1] == "__runner" {
		code = RunnerChild()
	} else if err := role(os.Args[1], Rack{os.Args[2]}); err != nil {
		fmt.Println(err)
		code = 1
	}
	syscall.Exit(code) // os.Exit takes the race detector a second
}

func role(name string, r Rack) error {
	ctx := context.Background()
	switch name {
	case "create", "create-full":
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		if name == "create-full" { // the key fits, the rack does not
			if err := fill(220); err != nil {
				return err
			}
		}
		fmt.Println("ready")
		_, _, err = r.Create(ctx, Lock{Kind: os.Args[3], Program: exe})
		return err
	case "key":
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		_, err = r.Key(ctx, exe)
		return err
	case "open": // a value that another writer keeps from being set
		o := Opener{Rack: r, Program: "/proc/self/exe"}
		fmt.Println("ready")
		return o.Set(ctx, nil, "acme/api", "X", []byte("1"))
	case "full":
		if err := fill(4 << 10); err != nil {
			return err
		}
		key, err := r.Key(ctx, "")
		if err != nil {
			return err
		}
		return r.Set(ctx, key, "acme/api", "BIG", make([]byte, 64<<10))
	case "write": // values without an end, each said when it is kept
		key, err := r.Key(ctx, "")
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			if err := r.Set(ctx, key, "acme/api", "N"+strconv.Itoa(i), []byte(strconv.Itoa(i))); err != nil {
				return err
			}
			fmt.Println(i)
		}
	}
	return errors.New("unknown role")
}

// fill keeps every file that this process writes from growing over size bytes, as
// a disk would that is full.
func fill(size uint64) error {
	signal.Ignore(syscall.SIGXFSZ)
	return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: size})
}

// command is this binary in another role.
func command(t testing.TB, role string, r Rack, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(self(t), append([]string{role, r.Dir}, args...)...)
}

func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// newRack is an open rack of the kind None.
func newRack(t testing.TB) (Rack, []byte) {
	t.Helper()
	r := Rack{filepath.Join(t.TempDir(), "keyrack")}
	key, reused, err := r.Create(t.Context(), Lock{Kind: None})
	if err != nil || reused {
		t.Fatalf("reused %v, %v", reused, err)
	}
	return r, key
}

func set(t testing.TB, r Rack, key []byte, site, name, value string) {
	t.Helper()
	if err := r.Set(t.Context(), key, site, name, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

// get is a value that has to be there. Values in these tests are made up here.
func get(t testing.TB, r Rack, key []byte, site, name string) string {
	t.Helper()
	values, err := r.Read(t.Context(), key, site, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	value, ok := values[name]
	if !ok {
		t.Fatalf("%s of %s is not in the rack", name, site)
	}
	return string(value)
}

// wantOneLine checks an error for people.
func wantOneLine(t testing.TB, err error, is error, text string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line with %q, being %v", err, text, is)
	}
}

// files lists what lies in dir, with modes.
func files(t testing.TB, dir string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err == nil && path != dir {
			found = append(found, fmt.Sprintf("%s %o", filepath.Base(path), info.Mode().Perm()))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(found, ", ")
}

// await waits for a condition, without a fixed sleep.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
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
