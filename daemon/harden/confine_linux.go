package harden

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// confined are what a confined program may not call, above what Landlock refuses it.
// It has no UNIX sockets: behind those of a user are the daemon, the OS keyring, other
// agents, and programs that run a command for whoever asks (systemd, tmux, docker), and
// Landlock does not look at their names. Pairs of connected ones it has, of the kinds
// that can't be connected again.
var confined = []rule{
	{call: unix.SYS_SOCKET, err: unix.EAFNOSUPPORT, deny: []uint32{unix.AF_UNIX}},
	{call: unix.SYS_SOCKETPAIR, err: unix.EAFNOSUPPORT, arg: 1, deny: withFlags(unix.SOCK_DGRAM, unix.SOCK_RAW)},
	{call: unix.SYS_IO_URING_SETUP, err: unix.ENOSYS}, // its operations pass no filter
	// keys: those of the user can be linked into any session keyring
	{call: unix.SYS_KEYCTL, err: unix.EPERM},
	{call: unix.SYS_ADD_KEY, err: unix.EPERM},
	{call: unix.SYS_REQUEST_KEY, err: unix.EPERM},
	// what is typed at the terminal when the program has ended
	{call: unix.SYS_IOCTL, err: unix.EPERM, arg: 1, deny: []uint32{unix.TIOCSTI, unix.TIOCLINUX}},
	// parts of the kernel that exploits use
	{call: unix.SYS_BPF, err: unix.EPERM},
	{call: unix.SYS_PERF_EVENT_OPEN, err: unix.EPERM},
	{call: unix.SYS_USERFAULTFD, err: unix.EPERM},
	{call: unix.SYS_OPEN_BY_HANDLE_AT, err: unix.EPERM},
}

// withFlags are kinds of sockets with each choice of the flags that may stand with them.
func withFlags(kinds ...uint32) (all []uint32) {
	for _, kind := range kinds {
		for _, flags := range []uint32{0, unix.SOCK_CLOEXEC, unix.SOCK_NONBLOCK, unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK} {
			all = append(all, kind|flags)
		}
	}
	return all
}

// Confine keeps the program that this process becomes, and all that it starts, from
// what c hides and from the other processes of the user: it can't read their
// environment, memory or descriptors, nor connect to their sockets. The goroutine that
// calls it has to be the one that execs; on an error it must not. All of it is in force, or there
// is an error: errors.ErrUnsupported where the kernel is too old.
func Confine(c Confinement) error {
	runtime.LockOSThread() // what is given up here is a thread's, which becomes the program
	rules, err := c.ruleset()
	if err != nil {
		return err
	}
	defer unix.Close(rules)
	LeaveKeyring()
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rules), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	if err := load(compile(confined)); err != nil {
		return fmt.Errorf("a system call filter: %w", err)
	}
	const first, last = 3, 1<<31 - 1
	if err := unix.CloseRange(first, last, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("closing descriptors: %w", err)
	}
	return nil
}

// dropCapabilities gives up all that root may. With no new privileges, no program
// that is started later has them again.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}
