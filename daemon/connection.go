package daemon

import (
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connection is one client's. Most clients send their request at once and take
// their answer at once: the runtime's poller, and a limit of time, come in only
// where one lets the daemon wait. Its methods but drop are for who serves it.
type connection struct {
	fd      int      // does not block
	file    *os.File // fd on the poller, nil until it is waited for
	reading func() (done func())

	limited bool   // the time for reading runs
	shell   string // it is a pipe of this shell's, which takes code

	mu     sync.Mutex
	closed bool
}

func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.file != nil {
		c.file.Close()
		return
	}
	unix.Close(c.fd)
}

// drop ends the connection for somebody else. Its descriptor stays with who serves
// it.
func (c *connection) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // one that the client ended is ended
	}
}

// Read reads what the client sends straight into b, and waits for requestTime in
// all.
func (c *connection) Read(b []byte) (n int, err error) {
	n, err = ignoringEINTR(unix.Read, c.fd, b)
	if err == unix.EAGAIN {
		n, err = c.readPatiently(b)
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (c *connection) readPatiently(b []byte) (n int, err error) {
	defer c.reading()()
	raw, failed := c.poller()
	if failed != nil {
		return 0, failed
	}
	if !c.limited {
		c.limited = true
		failed = c.file.SetReadDeadline(time.Now().Add(requestTime))
	}
	if failed != nil {
		return 0, failed
	}
	failed = raw.Read(func(fd uintptr) bool {
		n, err = ignoringEINTR(unix.Read, int(fd), b)
		return err != unix.EAGAIN
	})
	if failed != nil {
		return 0, failed
	}
	return n, err
}

// write does what try says, which writes to the descriptor until it is done, and
// again whenever the client makes room, for requestTime in all.
func (c *connection) write(try func() (done bool)) error {
	if try() {
		return nil
	}
	raw, err := c.poller()
	if err != nil {
		return err
	}
	if err := c.file.SetWriteDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	return raw.Write(func(uintptr) bool { return try() })
}

// watch is for fetch: it looks for nothing that the client sends, but for its end. Who
// calls it reads and writes nothing until done.
func (c *connection) watch(left func()) (done func()) {
	raw, err := c.poller()
	if err != nil || c.file.SetReadDeadline(time.Time{}) != nil { // then it is waited for as long as anybody's
		return func() {}
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = raw.Read(func(fd uintptr) bool { // its error is the deadline
			gone := hungUp(int(fd))
			if gone {
				left()
			}
			return gone
		})
	}()
	return func() {
		_ = c.file.SetReadDeadline(time.Now())
		<-over
	}
}

// hungUp says whether the other end is closed, and not just for writing.
func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// poller puts the connection on the runtime's poller.
func (c *connection) poller() (syscall.RawConn, error) {
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), "client")
	}
	return c.file.SyscallConn()
}

func ignoringEINTR(call func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := call(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
