package wire

import (
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// SlowAfter is how long an answer may take before slow is called.
const SlowAfter = 500 * time.Millisecond

// Call sends one request, a verb and its arguments, to the daemon at p and
// returns the answer from its status on. It checks the directory, the socket and
// the uid of who listens before it sends a byte, and gives up after within in all;
// slow, where not nil, is called once when SlowAfter has passed. Its error is
// always an *Error. The fields of the answer may hold values: the caller wipes.
func Call(p Place, within time.Duration, slow func(), fields ...[]byte) ([][]byte, error) {
	return call(p, newClock(within, slow), fields)
}

func call(p Place, c *clock, fields [][]byte) ([][]byte, error) {
	fd, pid, err := connect(p, c)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if p.Shared { // the kernel may name an init system, which listened first
		pid = p.holder()
	}
	frame, err := Encode(append([][]byte{[]byte(Version)}, fields...)...)
	if err != nil || len(frame) > MaxRequest {
		return nil, &Error{Status: Invalid, Message: "the request is too big or holds a NUL byte"}
	}
	defer clear(frame)
	s := &socket{fd: fd, clock: c}
	// A daemon that refuses may answer and close before it has read everything.
	if err := s.write(frame); err != nil && err != unix.EPIPE {
		return nil, lost(err, pid)
	}
	answer, err := ReadFrame(s, MaxAnswer)
	if err != nil {
		return nil, lost(err, pid)
	}
	return versioned(answer)
}

// versioned takes the version off an answer, or says which end is too old.
func versioned(answer [][]byte) ([][]byte, error) {
	if len(answer) < 2 {
		return nil, &Error{Status: Failed, Message: "the daemon sent an answer without a status"}
	}
	theirs, err := strconv.Atoi(string(answer[0]))
	ours, _ := strconv.Atoi(Version)
	switch {
	case err != nil || theirs <= 0:
		return nil, &Error{Status: Failed, Message: "the daemon sent an answer without a version"}
	case theirs < ours:
		return nil, &Error{Status: BadVersion, Message: "the daemon is older than this keyrack", Hint: "keyrack daemon stop", older: true}
	case theirs > ours:
		return nil, &Error{Status: BadVersion, Message: "this shell has an older keyrack hook; start a new shell"}
	}
	return answer[1:], nil
}

// lost explains why a daemon that took the connection gave no answer.
func lost(err error, pid int) error {
	who := "the daemon"
	if pid > 0 {
		who += " (pid " + strconv.Itoa(pid) + ")"
	}
	switch {
	case errors.Is(err, errTimeout):
		e := &Error{Status: Unavailable, Message: who + " does not answer"}
		if pid > 0 {
			e.Hint = "kill -KILL " + strconv.Itoa(pid)
		}
		return e
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return &Error{Status: Unavailable, Message: who + " went away without an answer", absent: true}
	case errors.Is(err, ErrFrame), errors.Is(err, ErrTooBig), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Status: Failed, Message: who + " sent a malformed answer"}
	}
	return &Error{Status: Unavailable, Message: "talking to " + who + ": " + err.Error()}
}

// connect returns a non-blocking socket to the daemon, and the daemon's pid where
// the kernel tells it.
func connect(p Place, c *clock) (fd, pid int, err error) {
	if err := p.Check(); err != nil {
		return -1, 0, err
	}
	if err := p.CheckSocket(); err != nil {
		return -1, 0, err
	}
	address, done, err := p.address()
	if err != nil {
		return -1, 0, err
	}
	defer done()
	fd, err = newSocket()
	if err == unix.EAFNOSUPPORT {
		return -1, 0, &Error{Status: Unavailable, Message: "the daemon can't be asked from here: this process may have no UNIX socket, as in keyrack sandbox"}
	}
	if err != nil {
		return -1, 0, &Error{Status: Unavailable, Message: "no socket: " + err.Error()}
	}
	if err := dial(fd, address, c); err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	uid, pid, err := Peer(fd)
	if err != nil || uid != os.Geteuid() {
		unix.Close(fd)
		return -1, 0, &Error{Status: Unavailable, Message: "who listens at " + p.Socket + " is not this user: refused"}
	}
	return fd, pid, nil
}

// dial connects fd, waiting while the daemon's queue is full.
func dial(fd int, address string, c *clock) error {
	for {
		err := retry(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: address}) })
		switch err {
		case nil, unix.EISCONN:
			return nil
		case unix.ENOENT, unix.ECONNREFUSED:
			return &Error{Status: Unavailable, Message: "no daemon is running", absent: true}
		case unix.EINPROGRESS, unix.EALREADY:
			if c.wait(fd, unix.POLLOUT) != nil {
				return &Error{Status: Unavailable, Message: "the daemon does not answer"}
			}
		case unix.EAGAIN:
			if c.pause() != nil {
				return &Error{Status: Unavailable, Message: "the daemon does not answer: its queue is full"}
			}
		default:
			return &Error{Status: Unavailable, Message: "connecting to the daemon: " + err.Error()}
		}
	}
}

// address is the socket's path in a form that fits into sockaddr_un; done
// releases what it stands on.
func (p Place) address() (path string, done func(), err error) {
	var room unix.RawSockaddrUnix
	if len(p.Socket) < len(room.Path) {
		return p.Socket, func() {}, nil
	}
	name := p.Socket[len(p.Dir)+1:]
	path, done, err = shortPath(p.Dir, name)
	if err != nil {
		return "", nil, &Error{Status: Unavailable, Message: "the socket's path " + p.Socket + " is over " +
			strconv.Itoa(len(room.Path)-1) + " bytes: set XDG_RUNTIME_DIR to a shorter one"}
	}
	return path, done, nil
}

// Address is the socket's path in a form that fits into sockaddr_un, for who
// listens; done releases what it stands on.
func (p Place) Address() (path string, done func(), err error) { return p.address() }

var errTimeout = errors.New("timed out")

// clock is the time that one call has, and the one remark on the way.
type clock struct {
	began    time.Time
	deadline time.Time
	slowAt   time.Time
	slow     func()
}

func newClock(within time.Duration, slow func()) *clock {
	now := time.Now()
	return &clock{began: now, deadline: now.Add(within), slowAt: now.Add(SlowAfter), slow: slow}
}

// left is how long the next wait may take, 0 when the time is up. It is the place
// where slow gets called.
func (c *clock) left() time.Duration {
	now := time.Now()
	left := c.deadline.Sub(now)
	if left <= 0 {
		return 0
	}
	if c.slow == nil {
		return left
	}
	if until := c.slowAt.Sub(now); until > 0 {
		return min(left, until)
	}
	slow := c.slow
	c.slow = nil
	slow()
	return left
}

// wait waits until fd is ready for events, or errTimeout.
func (c *clock) wait(fd int, events int16) error {
	for {
		left := c.left()
		if left == 0 {
			return errTimeout
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return err
		}
	}
}

// pause waits a moment, or errTimeout: the longer this call has taken the longer,
// because what it waits for takes its time and wants the processor.
func (c *clock) pause() error {
	left := c.left()
	if left == 0 {
		return errTimeout
	}
	moment := min(max(time.Since(c.began)/2, 2*time.Millisecond), 30*time.Millisecond)
	time.Sleep(min(left, moment))
	return nil
}

// socket is a non-blocking descriptor whose reads and writes wait on a clock.
type socket struct {
	fd    int
	clock *clock
}

// Read is io.Reader.
func (s *socket) Read(b []byte) (int, error) {
	for {
		n, err := retryInt(func() (int, error) { return unix.Read(s.fd, b) })
		switch {
		case err == unix.EAGAIN:
			if err := s.clock.wait(s.fd, unix.POLLIN); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s *socket) write(b []byte) error {
	for len(b) > 0 {
		n, err := retryInt(func() (int, error) { return unix.Write(s.fd, b) })
		switch {
		case err == unix.EAGAIN:
			if err := s.clock.wait(s.fd, unix.POLLOUT); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func retryInt(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}
