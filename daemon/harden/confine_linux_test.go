package harden

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// The attacks themselves are in sandbox_confines.txtar, with the real command. Here are
// the forms of a call that no program there tries.
func TestConfinedCalls(t *testing.T) {
	program := compile(confined)
	const allow, kill = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_KILL_PROCESS
	errno := func(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }
	for _, tt := range []struct {
		name       string
		call, arch uint32
		args       [2]uint32
		want       uint32
	}{
		{"a UNIX socket", unix.SYS_SOCKET, auditArch, [2]uint32{unix.AF_UNIX, unix.SOCK_STREAM}, errno(unix.EAFNOSUPPORT)},
		{"TCP", unix.SYS_SOCKET, auditArch, [2]uint32{unix.AF_INET, unix.SOCK_STREAM}, allow},
		{"a pair", unix.SYS_SOCKETPAIR, auditArch, [2]uint32{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, allow},
		{"a pair of packets", unix.SYS_SOCKETPAIR, auditArch, [2]uint32{unix.AF_UNIX, unix.SOCK_SEQPACKET}, allow},
		{"a pair of datagrams", unix.SYS_SOCKETPAIR, auditArch, [2]uint32{unix.AF_UNIX, unix.SOCK_DGRAM}, errno(unix.EAFNOSUPPORT)},
		{"with flags", unix.SYS_SOCKETPAIR, auditArch, [2]uint32{unix.AF_UNIX, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK}, errno(unix.EAFNOSUPPORT)},
		{"raw, which is datagrams", unix.SYS_SOCKETPAIR, auditArch, [2]uint32{unix.AF_UNIX, unix.SOCK_RAW | unix.SOCK_NONBLOCK}, errno(unix.EAFNOSUPPORT)},
		{"typing", unix.SYS_IOCTL, auditArch, [2]uint32{0, unix.TIOCSTI}, errno(unix.EPERM)},
		{"pasting", unix.SYS_IOCTL, auditArch, [2]uint32{0, unix.TIOCLINUX}, errno(unix.EPERM)},
		{"the size of a terminal", unix.SYS_IOCTL, auditArch, [2]uint32{0, unix.TIOCGWINSZ}, allow},
		{"any keyctl", unix.SYS_KEYCTL, auditArch, [2]uint32{unix.KEYCTL_READ}, errno(unix.EPERM)},
		{"a ring", unix.SYS_IO_URING_SETUP, auditArch, [2]uint32{}, errno(unix.ENOSYS)},
		{"i386, where one call does all of sockets", 102, unix.AUDIT_ARCH_I386, [2]uint32{}, kill},
		{"x32", 0x40000000 | unix.SYS_SOCKET, auditArch, [2]uint32{unix.AF_UNIX}, errno(unix.ENOSYS)},
		{"ptrace, which Landlock decides on", unix.SYS_PTRACE, auditArch, [2]uint32{}, allow},
	} {
		if got := evaluate(program, tt.call, tt.arch, tt.args[:]...); got != tt.want {
			t.Errorf("%s: %#x, not %#x", tt.name, got, tt.want)
		}
	}
}

func TestElsewhere(t *testing.T) {
	mounts := []mount{
		{"8:1", "/", "/"}, {"8:2", "/", "/home"}, {"0:5", "/", "/proc"}, // the usual
		{"8:1", "/srv", "/mnt/srv"},                   // a part, again
		{"8:2", "/me", "/mnt/me"},                     // of which the path is a part
		{"8:2", "/me/.ssh/deep", "/mnt/deep"},         // a part of the path
		{"8:2", "/", "/again"}, {"8:3", "/", "/data"}, // all of it, another device
		{"8:3", "/", "/data/over"}, {"8:1", "/me", "/data/over"}, // one over the other
	}
	for path, want := range map[string][]string{
		"/home/me/.ssh": {"/home/me/.ssh", "/mnt/me/.ssh", "/mnt/deep", "/again/me/.ssh"},
		"/srv":          {"/srv", "/mnt/srv"},
		"/etc":          {"/etc"},
		"/homes":        {"/homes"},
		"/data/over/x":  {"/data/over/x", "/me/x"},
	} {
		if got := elsewhere(path, mounts); !slices.Equal(got, want) {
			t.Errorf("%s is %q, not %q", path, got, want)
		}
	}
}
