package daemon

import (
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
)

// read reads the request, in bounded time and among a bounded number of others.
// It lies in the arena, since it may hold a value, until wipe is called.
func (s *server) read(conn *net.UnixConn) (request [][]byte, wipe func(), err error) {
	s.mu.Lock()
	place := s.reading.PushBack(conn)
	if s.reading.Len() > maxReading {
		s.reading.Front().Value.(*net.UnixConn).Close()
		s.reading.Remove(s.reading.Front())
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.reading.Remove(place)
		s.mu.Unlock()
	}()
	space := &requestSpace{server: s}
	if err := space.take(smallRequest); err != nil {
		return nil, nil, err
	}
	request, err = wire.ReadFrameIn(space.block.Bytes()[:0], &patient{conn: conn}, wire.MaxRequest, space.grow)
	if err != nil {
		space.give()
		return nil, nil, err
	}
	return request, space.give, nil
}

// requestSpace is the place in the arena that one request takes, a small one until
// more than that has come.
type requestSpace struct {
	server *server
	block  arena.Block
}

const (
	smallRequest = 512
	maxRequests  = 4 * wire.MaxRequest // in the arena at a time, in bytes
)

func (r *requestSpace) take(size int) error {
	s := r.server
	if s.requests.Add(int64(size)) > maxRequests {
		s.requests.Add(int64(-size))
		return failed("too much is being sent at once: try again")
	}
	block, err := s.cache.arena.Alloc(size)
	if err != nil {
		s.requests.Add(int64(-size))
		return full(err)
	}
	r.block = block
	return nil
}

func (r *requestSpace) give() {
	r.server.requests.Add(int64(-r.block.Len()))
	r.server.cache.arena.Free(r.block)
}

// grow is for wire.ReadFrameIn.
func (r *requestSpace) grow(old []byte, size int) ([]byte, error) {
	small := *r
	if err := r.take(size); err != nil {
		return nil, err
	}
	copy(r.block.Bytes(), old)
	small.give()
	return r.block.Bytes()[:len(old)], nil
}

// patient reads what a client sends, straight into the memory that it is given.
// The client's time begins when it lets the daemon wait.
type patient struct {
	conn    *net.UnixConn
	waiting bool
}

func (p *patient) Read(b []byte) (n int, err error) {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		n, failure = ignoringEINTR(unix.Read, int(fd), b)
		if failure != unix.EAGAIN {
			return true
		}
		if !p.waiting {
			p.waiting = true
			p.conn.SetReadDeadline(time.Now().Add(requestTime))
		}
		return false
	})
	switch {
	case err != nil:
		return 0, err
	case failure != nil:
		return 0, failure
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func ignoringEINTR(call func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := call(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// send writes f, straight from where it lies. Before each write it asks still
// whether it may: an error of that is returned where nothing has gone out yet.
// Where something has, the answer stays cut.
func (s *server) send(conn *net.UnixConn, f frame, still func() error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil // a client that went away has no use for the answer
	}
	left := f.bytes
	var refused error
	waiting := false
	raw.Write(func(fd uintptr) bool {
		for len(left) > 0 {
			if refused = still(); refused != nil {
				return true
			}
			n, err := ignoringEINTR(unix.Write, int(fd), left)
			left = left[n:]
			if err == unix.EAGAIN {
				if !waiting {
					waiting = true
					conn.SetWriteDeadline(time.Now().Add(requestTime))
				}
				return false
			}
			if err != nil {
				return true
			}
		}
		return true
	})
	if len(left) < len(f.bytes) {
		return nil
	}
	return refused
}
