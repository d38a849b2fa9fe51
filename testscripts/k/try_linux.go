package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// try does what an attacker does, args being its name and what it is done to, and
// returns how the kernel answered.
func try(args []string) error {
	target := ""
	if len(args) > 1 {
		target = args[1]
	}
	pid, _ := strconv.Atoi(target)
	switch args[0] {
	case "connect":
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrUnix{Name: target})
	case "send": // from a socket that was never asked for by name
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_RAW|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fds[0], &unix.SockaddrUnix{Name: target})
	case "pair": // which programs need among themselves
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	case "ring":
		return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[120]byte{})), 0)
	case "keys":
		_, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_SESSION_KEYRING, 0, 0)
		return err
	case "ptrace":
		runtime.LockOSThread()
		if err := unix.PtraceSeize(pid); err != nil {
			return err
		}
		return nil
	case "memory":
		var b [1]byte
		local := []unix.Iovec{{Base: &b[0], Len: 1}}
		_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
		return err
	case "descriptor":
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		_, err = unix.PidfdGetfd(fd, 0, 0)
		return err
	case "signal":
		return unix.Kill(pid, 0)
	case "type":
		return call(unix.SYS_IOCTL, 0, unix.TIOCSTI|1<<32, uintptr(unsafe.Pointer(&[]byte("x")[0])))
	case "truncate":
		return unix.Truncate(target, 0)
	case "link":
		return os.Link(target, "stolen")
	case "rename":
		return os.Rename(target, "stolen")
	case "open":
		fd, err := unix.Open(target, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	case "read":
		_, err := os.ReadFile(target)
		return err
	case "write":
		return os.WriteFile(target, []byte("x"), 0o600)
	}
	return fmt.Errorf("no such attack: %s", args[0])
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// old runs a program where the kernel has no Landlock.
func old(argv []string) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_LANDLOCK_CREATE_RULESET, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	runtime.LockOSThread() // which becomes the program
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}
