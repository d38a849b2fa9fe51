package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denial is a system call, and the error with which the kernel refuses it: as in some
// containers, and before some versions.
type denial struct {
	call int
	err  unix.Errno
}

var (
	noSecretMemory = denial{unix.SYS_MEMFD_SECRET, unix.ENOSYS}
	noKeys         = []denial{{unix.SYS_ADD_KEY, unix.EPERM}, {unix.SYS_KEYCTL, unix.EPERM}} // as Docker has it
)

// without is the real program where the kernel refuses something.
func (tg *target) without(refused []denial, args ...string) *exec.Cmd {
	var words []string
	for _, r := range refused {
		words = append(words, fmt.Sprintf("%d %d", r.call, int(r.err)))
	}
	cmd := tg.command(append([]string{"without", strings.Join(words, ","), tg.keyrack.exe}, args...)...)
	cmd.Dir = tg.root
	return cmd
}

// runWithout takes the place of this process by the program args[1:], under a filter
// that refuses what args[0] says.
func runWithout(args []string) error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number
	for word := range strings.SplitSeq(args[0], ",") {
		if word == "" { // nothing is refused
			continue
		}
		var call, refusal uint32
		if _, err := fmt.Sscan(word, &call, &refusal); err != nil {
			return err
		}
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | refusal})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread() // which becomes the program
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("loading a filter: %w", errno)
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}
