package harden

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the process that closes itself, since none can
// open again.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test") {
		os.Exit(m.Run())
	}
	roles := map[string]func() error{
		"start": start, "unsealed": unsealed, "filtered": filtered, "unfiltered": unfiltered, "new-code": tryNewCode,
		"born": born,
	}
	if err := roles[os.Args[1]](); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// role runs the test binary in a role as an unprivileged user, where only root can
// make another one, and returns what it says.
func role(t *testing.T, args ...string) string {
	t.Helper()
	out, err := roleCommand(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", args[0], err, out)
	}
	return string(out)
}

func roleCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if os.Geteuid() == 0 {
		file, err := os.Open(exe) // whose directory another user can't enter
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		cmd.Path, cmd.ExtraFiles = "/proc/self/fd/3", []*os.File{file}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}

// start is what the daemon does, twice; the second time it says what it is.
func start() error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	state, err := Close()
	if err != nil {
		return err
	}
	if state.First {
		return Again("/the/program", os.Args, os.Environ(), nil)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return err
	}
	after, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	_, readable := os.Open(Self())
	fmt.Printf("born dumpable %d, now %d, %s, program %s, weak %q, GOTRACEBACK=%s, left %t, can read itself %t\n", dumpable, after,
		strings.TrimSpace(string(comm)), state.Program, state.Weak, os.Getenv("GOTRACEBACK"), os.Getenv(againVariable)+os.Getenv(programVariable) != "", readable == nil)
	return errors.Join(err, runChild("born"))
}

// runChild runs this program as the daemon runs its children.
func runChild(role string) error {
	out, err := exec.Command(Self(), role).CombinedOutput()
	fmt.Printf("child: %s", out)
	return err
}

// born says whether a process of this program was readable when it was born.
func born() error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Printf("born dumpable %d\n", dumpable)
	return err
}

// unsealed is start where the kernel makes no memfd that can be executed, as with
// vm.memfd_noexec or in some sandboxes.
func unsealed() error {
	if os.Getenv(againVariable) == "" {
		if err := deny(rule{call: unix.SYS_MEMFD_CREATE, err: unix.EACCES}); err != nil {
			return err
		}
	}
	return start()
}

// deny loads a filter with one rule, as who started the daemon might have.
func deny(r rule) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return load(compile([]rule{r}))
}

// unfiltered is Filter where the kernel loads no more filters.
func unfiltered() error {
	if err := deny(rule{call: unix.SYS_SECCOMP, err: unix.EPERM}); err != nil {
		return err
	}
	fmt.Printf("weak %q\n", Filter())
	return nil
}

// filtered tries each rule, what must go on working, and a child.
func filtered() error {
	if weak := Filter(); len(weak) > 0 {
		fmt.Printf("weak %q\n", weak)
	}
	for _, r := range rules {
		_, _, errno := unix.RawSyscall6(uintptr(r.call), 1<<20, 0, 0, 0, 0, 0)
		if errno != r.err {
			fmt.Printf("call %d: %v, not %v\n", r.call, errno, r.err)
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_ALG, unix.AF_VSOCK, unix.AF_PACKET} {
		if _, err := unix.Socket(family, unix.SOCK_STREAM, 0); !errors.Is(err, unix.EAFNOSUPPORT) {
			fmt.Printf("family %d: %v\n", family, err)
		}
	}
	if _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err != nil {
		fmt.Println("AF_UNIX:", err)
	}
	keys()
	fmt.Println("here:", newCode())
	return runChild("new-code")
}

// keys does what a timed key takes. Where a container forbids all of it, that is
// another refusal than the filter's own.
func keys() {
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		fmt.Println("no keys here:", err)
		return
	}
	id, err := unix.AddKey("user", "keyrack-test", []byte("x"), unix.KEY_SPEC_SESSION_KEYRING)
	_, timeout := unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, 60, 0, 0)
	_, read := unix.KeyctlBuffer(unix.KEYCTL_READ, id, make([]byte, 8), 0)
	_, gone := unix.KeyctlInt(unix.KEYCTL_INVALIDATE, id, 0, 0, 0)
	if err := errors.Join(err, timeout, read, gone); err != nil {
		fmt.Println("keys:", err)
	}
	if _, err := unix.KeyctlInt(unix.KEYCTL_SESSION_TO_PARENT, 0, 0, 0, 0); !errors.Is(err, unix.EPERM) {
		fmt.Println("session to parent:", err)
	}
}

func tryNewCode() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	nnp, seccomp := field(string(status), "NoNewPrivs:"), field(string(status), "Seccomp:")
	fmt.Printf("%v, no new privileges %s, seccomp %s\n", newCode(), nnp, seccomp)
	return nil
}

// newCode is what a just-in-time compiler does.
func newCode() error {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC)
}

func field(text, name string) string {
	_, rest, _ := strings.Cut(text, "\n"+name)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// release is the kernel's version as major*1000+minor.
func release(t *testing.T) int {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	major, err := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return major*1000 + minor
}
