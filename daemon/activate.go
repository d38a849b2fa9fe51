package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// An init system may listen in the daemon's place and start it when a client
// comes: sd_listen_fds(3). The socket stays the init system's. It is there when the
// daemon leaves, and clients that come meanwhile wait in its queue.

// The variables that name what the init system gave, and to which process, and the
// first descriptor of it.
const (
	listenPID     = "LISTEN_PID"
	listenFDs     = "LISTEN_FDS"
	firstListenFD = 3
)

// listenVariables are those two of environ where they are for this process, which
// keeps its id when it runs its program again.
func listenVariables() []string {
	if os.Getenv(listenPID) != strconv.Itoa(os.Getpid()) {
		return nil
	}
	return []string{listenPID + "=" + os.Getenv(listenPID), listenFDs + "=" + os.Getenv(listenFDs)}
}

// givenSocket is the descriptor of the socket that an init system gave this
// process, 0 for none. It is not for the daemon's children.
func givenSocket() (int, error) {
	if len(listenVariables()) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(os.Getenv(listenFDs))
	if err != nil || n < 0 {
		return 0, errors.New(listenFDs + " is no number of descriptors")
	}
	for i := range min(n, 1<<10) {
		unix.CloseOnExec(firstListenFD + i)
	}
	switch n {
	case 0:
		return 0, nil
	case 1:
		return firstListenFD, nil
	}
	return 0, fmt.Errorf("the init system gave %d sockets: the daemon listens at one", n)
}

// adopt makes a listener of the socket that the init system gave, if it is the one
// of p, closed to others.
func adopt(p wire.Place, fd int) (net.Listener, error) {
	if err := checkGiven(p, fd); err != nil {
		return nil, fmt.Errorf("the socket that the init system gave: %w", err)
	}
	// Once more, so that clients see this process at the other end. Those that wait
	// already see the init system, which is the user's own.
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, fmt.Errorf("listening at %s: %w", p.Socket, err)
	}
	return fileListener(fd)
}

func checkGiven(p wire.Place, fd int) error {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	address, local := name.(*unix.SockaddrUnix)
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	listening, errListening := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case !local, err != nil || kind != unix.SOCK_STREAM, errListening != nil || listening == 0:
		return errors.New("it is no listening unix stream socket")
	case !samePath(address.Name, p.Socket):
		return fmt.Errorf("it is at %q, where this daemon's is at %s", address.Name, p.Socket)
	}
	return p.CheckSocket()
}

// samePath says whether two paths lead to one name in one directory.
func samePath(a, b string) bool {
	if filepath.Base(a) != filepath.Base(b) {
		return false
	}
	inA, errA := os.Stat(filepath.Dir(a))
	inB, errB := os.Stat(filepath.Dir(b))
	return errA == nil && errB == nil && os.SameFile(inA, inB)
}
