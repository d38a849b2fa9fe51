package harden

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rule refuses one system call with an error; with allow, only where its argument arg,
// the first being 0, is none of these; with deny, only where it is one of these.
type rule struct {
	call  uint32
	err   unix.Errno
	allow []uint32
	deny  []uint32
	arg   uint32
}

// rules are what neither the daemon nor its children need.
//
// Children inherit the filter and no-new-privileges, and can't lay them down; MDWE
// they do not. The daemon's children are keyrack's own. A tool of somebody else's
// that needs the network, setuid or setgid has to come from a process of its own,
// started from Self before Filter is called and asked over a socket pair.
var rules = []rule{
	// other processes' memory, registers and descriptors
	{call: unix.SYS_PTRACE, err: unix.EPERM},
	{call: unix.SYS_PROCESS_VM_READV, err: unix.EPERM},
	{call: unix.SYS_PROCESS_VM_WRITEV, err: unix.EPERM},
	{call: unix.SYS_PIDFD_GETFD, err: unix.EPERM},
	{call: unix.SYS_KCMP, err: unix.EPERM},
	// parts of the kernel that programs like this never use and exploits do
	{call: unix.SYS_BPF, err: unix.EPERM},
	{call: unix.SYS_PERF_EVENT_OPEN, err: unix.EPERM},
	{call: unix.SYS_USERFAULTFD, err: unix.EPERM},
	{call: unix.SYS_IO_URING_SETUP, err: unix.ENOSYS}, // its operations pass no filter
	{call: unix.SYS_OPEN_BY_HANDLE_AT, err: unix.EPERM},
	// the machine
	{call: unix.SYS_KEXEC_LOAD, err: unix.EPERM},
	{call: unix.SYS_KEXEC_FILE_LOAD, err: unix.EPERM},
	{call: unix.SYS_INIT_MODULE, err: unix.EPERM},
	{call: unix.SYS_FINIT_MODULE, err: unix.EPERM},
	{call: unix.SYS_DELETE_MODULE, err: unix.EPERM},
	{call: unix.SYS_REBOOT, err: unix.EPERM},
	{call: unix.SYS_SWAPON, err: unix.EPERM},
	{call: unix.SYS_MOUNT, err: unix.EPERM},
	{call: unix.SYS_UMOUNT2, err: unix.EPERM},
	{call: unix.SYS_PIVOT_ROOT, err: unix.EPERM},
	{call: unix.SYS_UNSHARE, err: unix.EPERM},
	{call: unix.SYS_SETNS, err: unix.EPERM},
	// keys: what a timed key in a keyring of one's own takes
	{call: unix.SYS_REQUEST_KEY, err: unix.EPERM},
	{call: unix.SYS_KEYCTL, err: unix.EPERM, allow: []uint32{
		unix.KEYCTL_GET_KEYRING_ID, unix.KEYCTL_JOIN_SESSION_KEYRING, unix.KEYCTL_UPDATE, unix.KEYCTL_REVOKE,
		unix.KEYCTL_SETPERM, unix.KEYCTL_DESCRIBE, unix.KEYCTL_CLEAR, unix.KEYCTL_LINK, unix.KEYCTL_UNLINK,
		unix.KEYCTL_SEARCH, unix.KEYCTL_READ, unix.KEYCTL_SET_TIMEOUT, unix.KEYCTL_INVALIDATE, unix.KEYCTL_CAPABILITIES,
	}},
	// the network
	{call: unix.SYS_SOCKET, err: unix.EAFNOSUPPORT, allow: []uint32{unix.AF_UNIX}},
}

// Filter forbids this process, and its children, what none of them needs: rules,
// new privileges by setuid programs, and (this process alone) memory that can be
// both written and executed. It says what the kernel refused.
func Filter() (weak []string) {
	if err := denyNewCode(); err != nil {
		weak = append(weak, "no new code in memory (MDWE): "+err.Error())
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return append(weak, "no new privileges: "+err.Error())
	}
	if err := load(compile(rules)); err != nil {
		weak = append(weak, "a system call filter: "+err.Error())
	}
	return weak
}

// denyNewCode does so for this process and not for its children, which a kernel
// before Linux 6.6 can't tell apart: a tool with a just-in-time compiler would die
// of it.
func denyNewCode() error {
	return unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN|unix.PR_MDWE_NO_INHERIT, 0, 0, 0)
}

// load puts the filter on all threads.
func load(program []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno != 0:
		return errno
	case thread != 0: // one that has a filter of its own
		return unix.EBUSY
	}
	return nil
}

// Offsets in struct seccomp_data. Both machines are little-endian. What rules look at
// are arguments of 32 bits, whose upper half the kernel ignores.
const (
	offCall = 0
	offArch = 4
	offArg0 = 16
	argSize = 8
)

// compile makes the program of rules. A process that calls the kernel as another
// architecture, whose numbers mean something else, is killed.
func compile(rules []rule) []unix.SockFilter {
	program := []unix.SockFilter{
		loadWord(offArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		answer(unix.SECCOMP_RET_KILL_PROCESS),
		loadWord(offCall),
		jump(unix.BPF_JGE, endOfCalls, 0, 1),
		refuse(unix.ENOSYS),
	}
	for _, r := range rules {
		program = append(program, r.compile()...)
	}
	return append(program, answer(unix.SECCOMP_RET_ALLOW))
}

// compile makes the part of one rule, which the program leaves or which decides.
func (r rule) compile() []unix.SockFilter {
	values, listed, other := r.allow, answer(unix.SECCOMP_RET_ALLOW), refuse(r.err)
	if len(r.deny) > 0 {
		values, listed, other = r.deny, other, listed
	}
	if len(values) == 0 {
		return []unix.SockFilter{jump(unix.BPF_JEQ, r.call, 0, 1), refuse(r.err)}
	}
	n := uint8(len(values))
	part := []unix.SockFilter{jump(unix.BPF_JEQ, r.call, 0, n+3), loadWord(offArg0 + argSize*r.arg)}
	for i, value := range values {
		part = append(part, jump(unix.BPF_JEQ, value, n-uint8(i), 0))
	}
	return append(part, other, listed)
}

func loadWord(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, value uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: value, Jt: yes, Jf: no}
}

func answer(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

func refuse(err unix.Errno) unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(err)) }
