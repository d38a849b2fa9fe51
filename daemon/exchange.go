package daemon

import (
	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
)

// read reads the request. It lies in the arena, since it may hold a value, until
// wipe is called.
func (s *server) read(conn *connection) (request [][]byte, wipe func(), err error) {
	space := &requestSpace{server: s}
	if err := space.take(smallRequest); err != nil {
		return nil, nil, err
	}
	request, err = wire.ReadFrameIn(space.block.Bytes()[:0], conn, wire.MaxRequest, space.grow)
	if err != nil {
		space.give()
		return nil, nil, err
	}
	return request, space.give, nil
}

// waits counts a client that has let the daemon wait for its request, until done:
// where there are many, the one that has waited longest is dropped.
func (s *server) waits(conn *connection) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.reading.PushBack(conn)
	if s.leaving {
		conn.drop()
	}
	if s.reading.Len() > maxReading {
		s.dropOldestLocked()
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reading.Remove(place)
	}
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
	arena.Move(r.block.Bytes(), old)
	small.give()
	return r.block.Bytes()[:len(old)], nil
}

// send writes f, straight from where it lies. Before each write it asks still
// whether it may: an error of that is returned where nothing has gone out yet.
// Where something has, the answer stays cut.
func (s *server) send(conn *connection, f frame, still func() error) error {
	left := f.bytes
	var refused error
	_ = conn.write(func() (done bool) { // a client that went away has no use for the answer
		for len(left) > 0 {
			if refused = still(); refused != nil {
				return true
			}
			n, err := ignoringEINTR(unix.Write, conn.fd, left)
			left = left[n:]
			if err != nil {
				return err != unix.EAGAIN
			}
		}
		return true
	})
	if len(left) < len(f.bytes) {
		return nil
	}
	return refused
}
