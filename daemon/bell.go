package daemon

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
)

// A shell that can't connect to a socket by itself, bash, asks without starting a
// client by what it can do: it opens two pipes, writes its question into one, and
// its process id into the bell, a FIFO beside the socket. The daemon looks into that
// process for the pipes, and writes the answer into the other one, as shell code.
//
// Who rings proves nothing, and gets nothing: an answer goes into the process that
// the question lies in, and to no other. That process is held by a pidfd, and has
// to be one that may ask, as it would by the socket. A pipe of a process is open to
// all processes of its user, as the one is by which a shell takes a client's output.
//
// Only what the daemon holds is answered in this way, at once. For all else, and
// where there is no answer, the shell starts the client.

// Code makes shell code of a grant. It asks for room once, for as many bytes as it may
// take, gets a slice that has so much left, and returns it with the code appended.
// It keeps nothing of the grant.
type Code func(g *wire.Grant, room func(size int) ([]byte, error)) ([]byte, error)

// digits is the length of the number, that of the bytes of code, which an answer
// begins with, so that a shell reads it in two pieces.
const digits = 8

// noCode is the answer that has the shell start the client.
var noCode = bytes.Repeat([]byte("0"), digits)

// openBell makes the bell and tells heard who rings, until close, which removes it.
// Where it can't be made nobody rings.
func (s *server) openBell(heard func(pid int)) (close func()) {
	if s.code == nil {
		return func() {}
	}
	bell, unlink, err := openBell(s.place)
	if err != nil {
		return func() {}
	}
	var over sync.WaitGroup
	over.Go(func() { rings(bell, heard) })
	return func() {
		unlink()
		bell.Close()
		over.Wait()
	}
}

// rung is a question that was found in a process that rang.
type rung struct {
	from *peer
	q    Query
	conn *connection
}

// look finds the question of the process pid, nil where it asks none: so a flood of
// rings costs what one at a time does. Who may not ask gets no code.
func (s *server) look(pid int) (r *rung) {
	defer s.survive()
	from, err := s.visitor(pid)
	if err != nil {
		return nil
	}
	question, answer, err := visit(pid)
	if err != nil {
		s.known.release(from)
		return nil
	}
	s.known.meet(from)
	r = &rung{from: from, conn: &connection{fd: answer, code: true}}
	var whole bool
	r.q, whole = parseQuestion(question)
	err = admits(s.place, from)
	if err != nil {
		s.logRefused(from, "", err)
	}
	if err != nil || !whole {
		_, _ = unix.Write(answer, noCode) // waits for nobody: it keeps all others waiting
		s.leave(r)
		return nil
	}
	return r
}

func (s *server) leave(r *rung) {
	r.conn.close()
	s.known.release(r.from)
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

// parseQuestion reads a question: the protocol's version and the shell's process id, a
// newline, the worksite's root, and a newline.
func parseQuestion(question string) (Query, bool) {
	head, root, _ := strings.Cut(question, "\n")
	shell, ours := strings.CutPrefix(head, questionMark+wire.Version+" ")
	pid, err := strconv.Atoi(shell)
	root, whole := strings.CutSuffix(root, "\n")
	return Query{Root: root, Shell: pid, held: true}, ours && whole && err == nil && pid > 0
}

// questionMark begins a question, so that no other pipe is taken for one.
const questionMark = "keyrack "

// asCode makes shell code of a grant, in memory like that which f lies in, and frees
// f. It is empty where f is, and where that does not fit the pipe fd.
func (s *server) asCode(f frame, fd int) frame {
	defer s.cache.free(f)
	if f.bytes == nil {
		return f
	}
	code, err := s.render(f, pipeRoom(fd))
	if err != nil {
		return frame{}
	}
	return code
}

func (s *server) render(f frame, limit int) (code frame, err error) {
	defer arena.Forget() // what is quoted goes through registers
	fields, err := wire.Fields(f.bytes)
	if err != nil {
		return frame{}, err
	}
	g, err := wire.ParseGrant(fields[1:])
	if err != nil {
		return frame{}, err
	}
	var block arena.Block
	text, err := s.code(g, func(size int) ([]byte, error) {
		if digits+size > limit {
			return nil, arena.ErrFull
		}
		if block, err = s.cache.arena.Alloc(digits + size); err != nil {
			return nil, err
		}
		return block.Bytes()[:digits], nil
	})
	if err != nil {
		s.cache.arena.Free(block)
		return frame{}, err
	}
	number := strconv.AppendInt(noCode[:digits:digits], int64(len(text)-digits), 10)
	copy(text, number[len(number)-digits:])
	return frame{text, block}, nil
}
