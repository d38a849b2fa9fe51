package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// leaveTime is how long a daemon that has stopped listening may take to leave,
// partingTime being a part of that.
const leaveTime = 1500 * time.Millisecond

// takeLock makes this process the one daemon of p, or returns ErrRunning. The
// file stays when the lock goes: removing it would let two daemons hold one lock.
// activated says that the socket is an init system's, which takes clients whether
// or not there is a daemon.
func takeLock(p wire.Place, activated bool) (release func(), err error) {
	if err := p.Make(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(p.Lock, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the daemon's lock: %w", err)
	}
	if err := flock(file, p, activated); err != nil {
		file.Close()
		return nil, err
	}
	text := strconv.Itoa(os.Getpid()) + "\n"
	if err := errors.Join(file.Truncate(0), writeAt(file, text)); err != nil {
		file.Close()
		return nil, fmt.Errorf("writing the daemon's lock: %w", err)
	}
	return func() { file.Close() }, nil
}

// flock locks file, waiting a moment for a daemon that holds it but listens no
// more.
func flock(file *os.File, p wire.Place, activated bool) error {
	for deadline := time.Now().Add(leaveTime); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("locking %s: %w", p.Lock, err)
		case !activated && answers(p) || time.Now().After(deadline):
			holder, _ := os.ReadFile(p.Lock)
			return running(strings.TrimSpace(string(holder)))
		}
	}
}

// answers says whether somebody listens at p.
func answers(p wire.Place) bool {
	address, done, err := p.Address()
	if err != nil {
		return false
	}
	defer done()
	conn, err := net.Dial("unix", address)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

func running(pid string) error {
	if _, err := strconv.Atoi(pid); err != nil {
		return ErrRunning
	}
	return fmt.Errorf("%w (pid %s)", ErrRunning, pid)
}

// listenOr takes the socket given, which nobody may remove, or with 0 listens.
func listenOr(p wire.Place, given int) (listener net.Listener, unlink func(), err error) {
	if given == 0 {
		return listen(p)
	}
	listener, err = adopt(p, given)
	return listener, func() {}, err
}

// listen binds the socket of p, whose lock the caller holds, and returns what
// removes it again. A socket on which somebody answers is never removed, lock or
// not: the lock's file may have been deleted under a living daemon.
func listen(p wire.Place) (listener net.Listener, unlink func(), err error) {
	address, done, err := p.Address()
	if err != nil {
		return nil, nil, err
	}
	defer done()
	if err := removeStale(p, address); err != nil {
		return nil, nil, err
	}
	fd, err := bind(address)
	if err != nil {
		return nil, nil, fmt.Errorf("listening at %s: %w", p.Socket, err)
	}
	own, err := os.Lstat(p.Socket)
	if err != nil {
		unix.Close(fd)
		return nil, nil, fmt.Errorf("listening: %w", err)
	}
	listener, err = fileListener(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("listening at %s: %w", p.Socket, err)
	}
	unlink = func() {
		if now, err := os.Lstat(p.Socket); err == nil && os.SameFile(own, now) {
			os.Remove(p.Socket)
		}
	}
	return listener, unlink, nil
}

// removeStale removes a socket on which nobody listens.
func removeStale(p wire.Place, address string) error {
	info, err := os.Lstat(p.Socket)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: not a socket", p.Socket)
	}
	conn, err := net.Dial("unix", address)
	if err == nil {
		conn.Close()
		return ErrRunning
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("who listens at %s is unknown: %w", p.Socket, err)
	}
	return os.Remove(p.Socket)
}

// bind makes a listening socket that is 0600 from its first moment: by the umask,
// and on Linux by the mode that it has before it gets a name, too.
func bind(address string) (int, error) {
	fd, err := listenSocket()
	if err != nil {
		return -1, err
	}
	old := unix.Umask(0o177)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: address})
	unix.Umask(old)
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// backlog is how many clients may wait to be accepted.
const backlog = 1024
