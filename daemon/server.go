package daemon

import (
	"container/list"
	"context"
	"errors"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
)

// Bounds of the server. A client that has not sent its whole request is the first
// to go when too many come, the oldest first.
const (
	requestTime = 5 * time.Second        // for reading a request, and for writing an answer
	partingTime = 500 * time.Millisecond // for what is in work when the daemon is to leave
	maxReading  = 512                    // clients that have not sent their request yet
	maxWorking  = 512                    // requests being answered
)

// server answers the clients of one daemon.
type server struct {
	place   wire.Place
	cache   *Cache
	log     func(string)
	stop    func() // ends run
	unused  time.Duration
	code    Code
	clients sync.WaitGroup
	peers   audit.Peers
	known   acquaintances

	requests atomic.Int64 // the bytes that requests take in the arena

	next   chan caller // for goroutines that wait for one
	idling atomic.Int64

	began    time.Time
	lastUse  atomic.Int64 // after began, in nanoseconds
	idleTime *time.Timer  // due when nobody has used the daemon for unused
	timed    atomic.Bool  // it runs

	mu      sync.Mutex
	reading *list.List               // of *connection: those that have let the daemon wait
	working map[*connection]struct{} // those whose requests are being answered
	leaving bool                     // nobody is waited for any more
	left    bool                     // nobody is answered any more
}

func newServer(o Options, cache *Cache, stop func()) *server {
	s := &server{place: o.Place, cache: cache, log: o.Log, stop: stop, unused: o.Unused, code: o.Code, reading: list.New(), working: map[*connection]struct{}{}, next: make(chan caller), began: time.Now()}
	if s.log == nil {
		s.log = func(string) {}
	}
	if s.unused == 0 {
		s.unused = UnusedAfter
	}
	return s
}

// run accepts until ctx ends, then lets the clients that are being answered have
// their answer, if that takes no longer than partingTime. To all others it closes
// without a word, which has them ask the next daemon.
func (s *server) run(ctx context.Context, listener net.Listener) error {
	s.idleTime = time.AfterFunc(s.unused, s.leaveIfUnused)
	s.timed.Store(true)
	defer s.idleTime.Stop()
	s.cache.onEmpty(s.used)
	done := make(chan struct{})
	defer close(done)
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	closeAsks := s.openAsks(func(r *rung) { s.dispatch(work, caller{rung: r}, done) })
	err := accept(ctx, listener, func(fd int) { s.dispatch(work, caller{fd: fd}, done) }, func(err error) {
		s.log("accepting: " + err.Error()) // most likely out of descriptors: the oldest silent client has one
		s.dropOldest()
	})
	closeAsks()
	s.dropSilent()
	defer time.AfterFunc(partingTime, func() { s.dropAll(); end() }).Stop()
	s.clients.Wait()
	s.peers.Close()
	return err
}

// maxIdle is how many goroutines wait for the next client, with stacks that have
// grown already.
const maxIdle = 64

// caller is a client that has connected, by its descriptor, or a process that rang.
type caller struct {
	fd   int
	rung *rung
}

// dispatch has a caller served, by a goroutine that waits for one or by a new one.
func (s *server) dispatch(ctx context.Context, c caller, done <-chan struct{}) {
	s.clients.Add(1)
	select {
	case s.next <- c:
		return
	default:
	}
	go func() {
		for {
			if c.rung != nil {
				s.answerRung(ctx, c.rung)
			} else {
				s.serve(ctx, c.fd)
			}
			s.used()
			s.clients.Done()
			if s.idling.Add(1) > maxIdle {
				s.idling.Add(-1)
				return
			}
			select {
			case c = <-s.next:
				s.idling.Add(-1)
			case <-done:
				return
			}
		}
	}()
}

// used starts the time anew after which an unused daemon leaves. A timer that runs
// stays as it is: when it is due too early it is set anew.
func (s *server) used() {
	s.lastUse.Store(int64(time.Since(s.began)))
	if s.timed.CompareAndSwap(false, true) {
		s.idleTime.Reset(s.unused)
	}
}

// leaveIfUnused ends a daemon that holds nothing and serves nobody. One that
// holds something is asked again when it has become empty.
func (s *server) leaveIfUnused() {
	s.timed.Store(false)
	if left := s.unused - (time.Since(s.began) - time.Duration(s.lastUse.Load())); left > 0 {
		if s.timed.CompareAndSwap(false, true) {
			s.idleTime.Reset(left)
		}
		return
	}
	s.mu.Lock()
	busy := s.reading.Len()+len(s.working) > 0
	s.mu.Unlock()
	if !busy && s.cache.empty() {
		s.stop()
	}
}

// serve reads one request, answers it and closes. A panic ends that one client,
// and its line in the log says where, not what.
func (s *server) serve(ctx context.Context, fd int) {
	conn := &connection{fd: fd}
	conn.reading = func() func() { return s.waits(conn) }
	defer conn.close()
	defer func() {
		if recover() != nil {
			s.log("a request failed at " + panicPlace())
			s.write(conn, failed("the daemon failed at this request").Fields())
		}
	}()
	from, err := s.peer(conn, &s.known)
	if err != nil {
		s.write(conn, asError(err).Fields())
		return
	}
	defer s.known.release(from)
	request, wipe, err := s.read(conn)
	if err != nil {
		s.explain(conn, err)
		return
	}
	defer wipe()
	release, err := s.begin(conn)
	if err != nil {
		s.write(conn, asError(err).Fields())
		return
	}
	defer release()
	s.answer(ctx, conn, from, request)
}

// peer says who asks, with what known remembers, nil for nothing: an error where it is
// not this user in this login session. The caller releases it.
func (s *server) peer(conn *connection, known *acquaintances) (*peer, error) {
	from, err := newPeer(conn.fd, known)
	for try := 1; try < 50 && (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)); try++ {
		s.dropOldest() // a client that has sent nothing makes room
		time.Sleep(2 * time.Millisecond)
		from, err = newPeer(conn.fd, known)
	}
	if err != nil {
		return nil, err
	}
	known.meet(from)
	if err := admits(s.place, from); err != nil {
		s.logRefused(from, "", err)
		s.known.release(from)
		return nil, err
	}
	return from, nil
}

// certain makes sure of who asks, whatever is remembered.
func (s *server) certain(conn *connection, from *peer) error {
	if from.remembered {
		now, err := s.peer(conn, nil)
		if err != nil {
			return err
		}
		s.known.release(from)
		*from = *now
	}
	return from.same()
}

// explain says what is wrong with a request that could not be read, if its client
// can be told.
func (s *server) explain(conn *connection, err error) {
	if _, ours := errors.AsType[*wire.Error](err); ours || errors.Is(err, wire.ErrFrame) || errors.Is(err, wire.ErrTooBig) {
		s.write(conn, asError(err).Fields())
	}
}

func (s *server) dropOldest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropOldestLocked()
}

func (s *server) dropOldestLocked() {
	if oldest := s.reading.Front(); oldest != nil {
		oldest.Value.(*connection).drop()
		s.reading.Remove(oldest)
	}
}

// dropSilent drops all that let the daemon wait for their request, and those that
// will.
func (s *server) dropSilent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	for e := s.reading.Front(); e != nil; e = e.Next() {
		e.Value.(*connection).drop()
	}
}

// dropAll drops all that are being answered, and those that will.
func (s *server) dropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	for conn := range s.working {
		conn.drop()
	}
}

// begin counts a request that is being answered.
func (s *server) begin(conn *connection) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.working) >= maxWorking {
		return nil, failed("too many requests at once")
	}
	s.working[conn] = struct{}{}
	if s.left {
		conn.drop()
	}
	return func() {
		s.mu.Lock()
		delete(s.working, conn)
		s.mu.Unlock()
	}, nil
}

// write sends an answer whose fields are those after the version and hold no value; no
// code, to who takes nothing else.
func (s *server) write(conn *connection, fields [][]byte) {
	if conn.shell != "" {
		if conn.shell == bash {
			s.send(conn, frame{bytes: noCode}, func() error { return nil })
		}
		return
	}
	f, err := encode(fields)
	if err != nil {
		f, _ = encode(asError(err).Fields())
	}
	s.send(conn, f, func() error { return nil })
}

// panicPlace names the function that panicked, without any argument.
func panicPlace() string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		frame, more := frames.Next()
		if !more || len(frame.Function) > 8 && frame.Function[:8] == "keyrack/" {
			return frame.Function + ":" + strconv.Itoa(frame.Line)
		}
	}
}
