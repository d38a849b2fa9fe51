package seal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be a process that has a keyring of its own, which
// takes a new program: keyrings are a thread's.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test") {
		os.Exit(m.Run())
	}
	roles := map[string]func(Keyring) error{"stand-still": standStill, "many": many}
	id, err := strconv.Atoi(os.Getenv("SEAL_KEYRING"))
	if err == nil {
		err = roles[os.Args[1]](Keyring(id))
	} else {
		err = join()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func join() error {
	runtime.LockOSThread()
	id, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("no keys here: %w", err)
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), "SEAL_KEYRING="+strconv.Itoa(id)))
}

// process is the test binary in a role.
type process struct {
	*exec.Cmd
	lines *bufio.Reader
}

func start(t *testing.T, role string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe, role)}
	p.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	// A process group that is orphaned while one of it stands still gets SIGHUP: this one is alone in its own.
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := p.StdoutPipe()
	if err := errors.Join(err, p.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	p.lines = bufio.NewReader(out)
	return p
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

const (
	canary  = "canary-that-was-sealed-"
	control = "canary-that-was-not-"
	ttl     = time.Second
)

// A process that stands still past the end of what it sealed has only noise: not the
// value, and not the key, neither in its memory nor in the kernel.
func TestEndsWhileItStandsStill(t *testing.T) {
	p := start(t, "stand-still")
	key, err := hex.DecodeString(p.line(t))
	if err != nil || len(key) != Size {
		t.Fatalf("a key of %d bytes, %v", len(key), err)
	}
	for _, want := range []string{
		"open true",
		"later: permission denied", "never: permission denied", "permission: permission denied", "another key: permission denied",
	} {
		if got := p.line(t); got != want {
			t.Errorf("it says %s, not %s", got, want)
		}
	}
	waitFor(t, "it to stand still", func() string { return state(t, p.Process.Pid) }, "T")
	ended := time.Now().Add(2 * ttl)
	waitFor(t, "the end", func() string { return strconv.FormatBool(time.Now().After(ended)) }, "true")
	memory := read(t, p.Process.Pid)
	for needle, want := range map[string]bool{canary + "7": false, string(key): false, control + control[:1]: true} {
		if got := bytes.Contains(memory, []byte(needle)); got != want {
			t.Errorf("of %d bytes that are looked for, its memory has them: %t", len(needle), got)
		}
	}
	p.Process.Signal(unix.SIGCONT)
	if got := p.line(t); got != "before: true, afterwards: its key has ended: key has expired, false" {
		t.Error(got)
	}
}

// standStill seals a value, tries all that could make its key last longer, and stops.
func standStill(keyring Keyring) error {
	kept := bytes.Repeat([]byte(control), 2)
	k, err := New(keyring, make([]byte, Size))
	if err != nil {
		return err
	}
	memory := []byte(canary + "7")
	s, err := k.Seal(memory, ttl)
	k.Shut()
	if err != nil {
		return err
	}
	id, buf := s.key.id, make([]byte, Size)
	if _, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0); err != nil {
		return err
	}
	fmt.Println(hex.EncodeToString(buf))
	clear(buf)
	open := func() (bool, error) {
		to := make([]byte, len(memory))
		err := k.Open(s, to, memory)
		k.Shut()
		defer clear(to)
		return string(to) == canary+"7", err
	}
	opened, _ := open()
	fmt.Println("open", opened)
	_, later := unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, 3600, 0, 0)
	_, never := unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, 0, 0, 0)
	permission := unix.KeyctlSetperm(id, 0x3f3f3f3f)
	_, another := unix.AddKey("user", "keyrack:"+strconv.FormatInt(s.key.end, 36), buf, int(keyring))
	fmt.Printf("later: %v\nnever: %v\npermission: %v\nanother key: %v\n", later, never, permission, another)
	before, _ := open()
	unix.Kill(os.Getpid(), unix.SIGSTOP) // with whatever that left
	opened, err = open()
	fmt.Printf("before: %t, afterwards: %v, %t\n", before, err, opened)
	runtime.KeepAlive(kept)
	return nil
}

// read is all that pid has in memory that it may write.
func read(t *testing.T, pid int) (all []byte) {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid)
	maps, err := os.ReadFile(dir + "/maps")
	mem, err2 := os.Open(dir + "/mem")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x rw", &from, &to); err == nil {
			part, err := io.ReadAll(io.NewSectionReader(mem, from, to-from))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, part...)
		}
	}
	return all
}

func state(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:1]
}

func waitFor(t *testing.T, what string, is func() string, want string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(time.Minute)
	for got := is(); got != want; got = is() {
		if time.Now().After(limit) {
			t.Fatalf("waited a minute for %s: %s", what, got)
		}
		<-tick.C
	}
}

// There is one key for each second, no more of them than the bound, and none is left.
func TestKeysAreFew(t *testing.T) {
	p := start(t, "many")
	rest, err := io.ReadAll(p.lines)
	if want := "0 keys\n1 keys for 1000\n100 keys: too many keys are in use\n100 keys after one\n0 keys\n"; err != nil || string(rest) != want {
		t.Errorf("%v: it says %s", err, rest)
	}
}

func many(keyring Keyring) error {
	k, err := New(keyring, make([]byte, Size))
	if err != nil {
		return err
	}
	count := func() int {
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, int(keyring), make([]byte, 4<<10), 0)
		if err != nil {
			return -1
		}
		return n / 4
	}
	fmt.Println(count(), "keys")
	var all []Sealed
	take := func(end time.Time) error {
		s, err := k.Seal(make([]byte, 8), time.Until(end))
		if err == nil {
			all = append(all, s)
		}
		return err
	}
	end := time.Unix(keyring.End(time.Hour), 0)
	for range 1000 {
		err = errors.Join(err, take(end))
	}
	fmt.Println(count(), "keys for", len(all))
	for n := 1; err == nil; n++ {
		err = take(end.Add(time.Duration(n) * time.Second))
	}
	fmt.Printf("%d keys: %v\n", count(), err)
	last := len(all) - 1
	k.Drop(all[last])
	all = all[:last]
	err = take(end.Add(-time.Minute))
	fmt.Println(count(), "keys after one")
	for _, s := range all {
		k.Drop(s)
	}
	fmt.Println(count(), "keys")
	return err
}
