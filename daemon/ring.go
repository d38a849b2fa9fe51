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
// what it can do. It puts its question into a pipe of its own, and rings: it makes a file
// with its process id for a name in the directory asks beside the socket. The daemon looks
// into that process for the question, writes the answer, shell code, into a pipe of that
// process, and removes the file. bash has a second pipe for the answer; fish takes it from
// the same one, behind the question.
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

// openAsks makes the directory asks and tells heard of each question that is found, until
// close. Where it can't be made nobody rings.
func (s *server) openAsks(heard func(*rung)) (close func()) {
	if s.code == nil {
		return func() {}
	}
	closed, err := openAsks(s.place)
	if err != nil {
		return func() {}
	}
	var over sync.WaitGroup
	over.Go(func() {
		rings(closed, func(pid int) {
			if r := s.look(pid); r != nil {
				heard(r)
			}
		})
	})
	return func() {
		closed.Close()
		over.Wait()
		_ = emptyAsks(s.place) // the directory stays, for shells that are about to ring
	}
}

// rung is a question that was found in a process that rang, pid.
type rung struct {
	pid  int
	from *peer
	q    Query
	conn *connection
}

// look finds the question of the process pid, nil where it asks none, or may not: so a
// flood of rings costs what one at a time does.
func (s *server) look(pid int) *rung {
	defer s.survive()
	r := &rung{pid: pid}
	if err := s.find(r); err != nil {
		if r.conn != nil && r.conn.shell == bash {
			_, _ = unix.Write(r.conn.fd, noCode) // waits for nobody: it keeps all others waiting
		}
		s.leave(r)
		return nil
	}
	return r
}

func (s *server) find(r *rung) (err error) {
	if r.from, err = s.visitor(r.pid); err != nil {
		return err
	}
	a, question, err := findQuestion(r.pid)
	if err != nil {
		return err
	}
	defer a.close()
	shell, q, malformed := parseQuestion(question)
	answer, err := a.openAnswer(shell)
	if err != nil {
		return err
	}
	r.q, r.conn = q, &connection{fd: answer, shell: shell}
	if malformed != nil {
		return malformed
	}
	s.known.meet(r.from)
	if err = admits(s.place, r.from); err != nil {
		s.logRefused(r.from, "", err)
	}
	return err
}

// leave ends what was done for r, and removes the file last: it tells the shell that
// nothing more comes.
func (s *server) leave(r *rung) {
	if r.conn != nil {
		r.conn.close()
	}
	if r.from != nil {
		s.known.release(r.from)
	}
	_ = os.Remove(s.place.Asks + "/" + strconv.Itoa(r.pid)) // another daemon may have
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
func (s *server) visitor(pid int) (p *peer, err error) {
	p = &peer{pid: pid}
	if !s.known.recall(p) {
		if p.handle, err = holdProcess(pid); err != nil {
			return nil, err
		}
	}
	if err := mayRing(pid); err != nil {
		s.known.release(p)
		return nil, err
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
