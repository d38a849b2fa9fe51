package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
)

// A shell that can't connect to a socket by itself asks without starting a client by
// what it can do. It puts its question into a pipe of its own, and rings: bash writes
// its process id into the bell, a FIFO beside the socket, and fish, which can't open
// one without waiting for a reader, makes a file of that name in the directory asks.
// The daemon looks into that process for the question, and writes the answer, shell
// code, into a pipe of that process: bash has a second one, fish the same.
//
// Who rings proves nothing, and gets nothing: an answer goes into the process that
// the question lies in, and to no other. That process is held by a pidfd, and has
// to be one that may ask, as it would by the socket. A pipe of a process is open to
// all processes of its user, as the one is by which a shell takes a client's output.
//
// Only what the daemon holds is answered in this way, at once. For all else, and
// where there is no answer, the shell starts the client.

// Code makes code of a grant in a shell's language. It asks for room once, for as many
// bytes as it may take, gets a slice that has so much left, and returns it with the code
// appended. It keeps nothing of the grant. A shell that it does not know is an error.
type Code func(shell string, g *wire.Grant, room func(size int) ([]byte, error)) ([]byte, error)

// bash gets the length of the code, in digits digits, and the code, so that it reads them
// in two pieces, and 0 where it has to start the client. Another shell reads until the
// pipe ends.
const (
	bash   = "bash"
	digits = 8
)

var noCode = bytes.Repeat([]byte("0"), digits)

// way is one of ringing. open makes what is rung, and unlink removes it; rings tells heard
// which processes ring, until bell is closed; find looks for the question of one, and for
// the pipe that takes the answer; done tells it that there is none to come any more.
type way struct {
	open  func(wire.Place) (bell *os.File, unlink func(), err error)
	rings func(bell *os.File, heard func(pid int))
	find  func(pid int) (question string, answer int, err error)
	done  func(p wire.Place, pid int)
}

// openBells makes all that is rung, and tells heard of each question that is found, until
// close, which removes it. What can't be made nobody rings.
func (s *server) openBells(heard func(*rung)) (close func()) {
	if s.code == nil {
		return func() {}
	}
	var over sync.WaitGroup
	var closing []func()
	for _, w := range ways {
		bell, unlink, err := w.open(s.place)
		if err != nil {
			continue
		}
		closing = append(closing, func() { unlink(); bell.Close() })
		over.Go(func() {
			w.rings(bell, func(pid int) {
				if r := s.look(w, pid); r != nil {
					heard(r)
				}
			})
		})
	}
	return func() {
		for _, close := range closing {
			close()
		}
		over.Wait()
	}
}

// rung is a question that was found in a process that rang.
type rung struct {
	from *peer
	q    Query
	conn *connection
	done func()
}

// look finds the question of the process pid, nil where it asks none, or may not: so a
// flood of rings costs what one at a time does.
func (s *server) look(w way, pid int) *rung {
	defer s.survive()
	r := &rung{done: func() { w.done(s.place, pid) }}
	if err := s.find(w, pid, r); err != nil {
		if r.conn != nil && r.conn.shell == bash {
			_, _ = unix.Write(r.conn.fd, noCode) // waits for nobody: it keeps all others waiting
		}
		s.leave(r)
		return nil
	}
	return r
}

func (s *server) find(w way, pid int, r *rung) (err error) {
	if r.from, err = s.visitor(pid); err != nil {
		return err
	}
	question, answer, err := w.find(pid)
	if err != nil {
		return err
	}
	s.known.meet(r.from)
	r.conn = &connection{fd: answer}
	if r.conn.shell, r.q, err = parseQuestion(question); err != nil {
		return err
	}
	if err = admits(s.place, r.from); err != nil {
		s.logRefused(r.from, "", err)
	}
	return err
}

func (s *server) leave(r *rung) {
	if r.conn != nil {
		r.conn.close()
	}
	if r.from != nil {
		s.known.release(r.from)
	}
	r.done()
}

// answerRung is serve for a process that rang.
func (s *server) answerRung(ctx context.Context, r *rung) {
	defer s.leave(r)
	defer s.survive()
	release, err := s.begin(r.conn)
	if err != nil {
		s.write(r.conn, nil)
		return
	}
	defer release()
	s.grant(ctx, r.conn, r.from, r.q)
}

// survive, deferred, has a panic end one request, and says where, not what.
func (s *server) survive() {
	if recover() != nil {
		s.log("a request failed at " + panicPlace())
	}
}

// visitor takes hold of the process pid, which rang. The caller releases it.
func (s *server) visitor(pid int) (*peer, error) {
	p := &peer{pid: pid}
	if !s.known.recall(p) {
		var err error
		if p.handle, err = holdOwn(pid); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// parseQuestion reads a question: the protocol's version, the shell's name, its process id
// and the worksite's root, parted by blanks, and a newline. It is a comment to a shell.
// Where it is malformed, the shell is the one that it names nevertheless.
func parseQuestion(question string) (shell string, q Query, err error) {
	rest, whole := strings.CutSuffix(strings.TrimPrefix(question, questionMark), "\n")
	version, rest, _ := strings.Cut(rest, " ")
	shell, rest, _ = strings.Cut(rest, " ")
	pid, root, named := strings.Cut(rest, " ")
	q = Query{Root: root, held: true}
	q.Shell, err = strconv.Atoi(pid)
	if version != wire.Version || !whole || !named || q.Shell <= 0 {
		err = errNoQuestion
	}
	return shell, q, err
}

// questionMark begins a question, so that no other pipe is taken for one.
const questionMark = "#keyrack "

var errNoQuestion = errors.New("no question")

// asCode makes code for the shell at conn of a grant, in memory like that which f lies in,
// and frees f. It is empty where f is, and where that does not fit the pipe.
func (s *server) asCode(f frame, conn *connection) frame {
	defer s.cache.free(f)
	if f.bytes == nil {
		return f
	}
	code, err := s.render(f, conn)
	if err != nil {
		return frame{}
	}
	return code
}

func (s *server) render(f frame, conn *connection) (code frame, err error) {
	defer arena.Forget() // what is quoted goes through registers
	fields, err := wire.Fields(f.bytes)
	if err != nil {
		return frame{}, err
	}
	g, err := wire.ParseGrant(fields[1:])
	if err != nil {
		return frame{}, err
	}
	head := 0
	if conn.shell == bash {
		head = digits
	}
	var block arena.Block
	text, err := s.code(conn.shell, g, func(size int) ([]byte, error) {
		if head+size > pipeRoom(conn.fd) {
			return nil, arena.ErrFull
		}
		if block, err = s.cache.arena.Alloc(head + size); err != nil {
			return nil, err
		}
		return block.Bytes()[:head], nil
	})
	if err != nil {
		s.cache.arena.Free(block)
		return frame{}, err
	}
	if head > 0 {
		number := strconv.AppendInt(noCode[:digits:digits], int64(len(text)-digits), 10)
		copy(text, number[len(number)-digits:])
	}
	return frame{text, block}, nil
}
