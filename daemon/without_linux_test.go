package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without is the real program where the kernel refuses one system call with an
// error, as in some containers and before some versions.
func (tg *target) without(call int, refusal unix.Errno, args ...string) *exec.Cmd {
	cmd := tg.command(append([]string{"without", strconv.Itoa(call), strconv.Itoa(int(refusal)), tg.keyrack.exe}, args...)...)
	cmd.Dir = tg.root
	return cmd
}

// runWithout takes the place of this process by the program args[2:], under a filter
// that refuses system call args[0] with error args[1].
func runWithout(args []string) error {
	call, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	refusal, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // which becomes the program
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(refusal)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		return fmt.Errorf("loading a filter: %w", errno)
	}
	return syscall.Exec(args[2], args[2:], os.Environ())
}
