package wire

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// SessionID is "": macOS has no audit session id that keyrack uses.
func SessionID() string { return "" }

// SessionOf is "" like SessionID.
func SessionOf(int) string { return "" }

// Peer is who made the other end of the connected socket fd: credentials of the
// moment of connect, or of listen. pid is 0 where the kernel does not tell.
func Peer(fd int) (uid, pid int, err error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, 0, err
	}
	pid, err = unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		pid = 0
	}
	return int(cred.Uid), pid, nil
}

func newSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func newPipe() (r, w int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return -1, -1, err
	}
	unix.CloseOnExec(p[0])
	unix.CloseOnExec(p[1])
	return p[0], p[1], nil
}

// shortPath fails: macOS has no path to a directory by its descriptor.
func shortPath(string, string) (string, func(), error) {
	return "", nil, unix.ENAMETOOLONG
}

const fdDir = "/dev/fd"
