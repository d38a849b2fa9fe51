package wire

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// noSession is the audit session id of a process that has none.
const noSession = "4294967295"

// SessionID is the audit session id of this process, "" where there is none:
// "none" is never the same session as another "none".
func SessionID() string { return sessionOf("self") }

// SessionOf is the audit session id of process pid, "" for none or unknown.
func SessionOf(pid int) string { return sessionOf(strconv.Itoa(pid)) }

func sessionOf(proc string) string {
	text, err := readSmall("/proc/" + proc + "/sessionid")
	id := strings.TrimSpace(text)
	if _, bad := strconv.ParseUint(id, 10, 32); err != nil || bad != nil || id == noSession {
		return ""
	}
	return id
}

// readSmall reads a file of the kernel's in one go. os.ReadFile would start the
// poller first, which costs the client of a shell more than all else here.
func readSmall(path string) (string, error) {
	fd, err := retryInt(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text [64]byte
	n, err := retryInt(func() (int, error) { return unix.Read(fd, text[:]) })
	return string(text[:max(n, 0)]), err
}

// Peer is who made the other end of the connected socket fd: credentials of the
// moment of connect, or of listen.
func Peer(fd int) (uid, pid int, err error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, 0, err
	}
	return int(cred.Uid), int(cred.Pid), nil
}

func newSocket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

func newPipe() (r, w int, err error) {
	var p [2]int
	err = unix.Pipe2(p[:], unix.O_CLOEXEC)
	return p[0], p[1], err
}

// shortPath gives a path for sockaddr_un that leads to dir/name whatever the
// length of dir, through a descriptor that done closes.
func shortPath(dir, name string) (path string, done func(), err error) {
	fd, err := retryInt(func() (int, error) {
		return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name, func() { unix.Close(fd) }, nil
}

const fdDir = "/proc/self/fd"
