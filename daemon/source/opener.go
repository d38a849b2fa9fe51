package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Opener opens a rack in a process of its own that lives for one call: what age
// and the keyring's library leave in memory ends with it, and so does a call that
// takes too long. The caller's process never holds more than the values that it
// asked for, and of the rack's key only what it gives.
//
// Program is keyrack itself, which runs RackChild where it is started with the one
// argument __rack; Environ is that process's environment. Every method takes a key,
// nil for the kinds of lock that answer by themselves. An error of the process has
// the same type here as there. Methods may be called at the same time.
type Opener struct {
	Rack    Rack
	Program string
	Environ []string
}

// Room is asked for the memory, of exactly size bytes, into which a value is to be
// read. until is when the value's own source ends it, counted from the system's
// start with suspend, 0 where it does not say.
type Room func(name string, size int, until time.Duration) ([]byte, error)

// Read gets the values that the rack has for names of site, straight into the
// memory that room gives; what the rack does not have, room is not asked for.
// Where Read fails, what was given may hold something.
func (o Opener) Read(ctx context.Context, key []byte, site string, names []string, room Room) error {
	return o.ask(ctx, request{verb: verbRead, site: site, key: key, names: names}, func(r io.Reader, h answerHead) error {
		if h.kind != answerValue || int(h.index) >= len(names) {
			return errMalformed
		}
		value, err := room(names[h.index], int(h.size), time.Duration(h.until))
		if err != nil {
			return err
		}
		_, err = io.ReadFull(r, value)
		return err
	})
}

// List names what the rack holds for site, sorted; for every site where that is "".
func (o Opener) List(ctx context.Context, key []byte, site string) ([]Item, error) {
	var items []Item
	err := o.ask(ctx, request{verb: verbList, site: site, key: key}, func(r io.Reader, h answerHead) error {
		if h.kind != answerItem || h.index > h.size {
			return errMalformed
		}
		text := make([]byte, h.size)
		if _, err := io.ReadFull(r, text); err != nil {
			return err
		}
		items = append(items, Item{string(text[:h.index]), string(text[h.index:])})
		return nil
	})
	return items, err
}

// Set puts a value into the rack, in the place of one that is there.
func (o Opener) Set(ctx context.Context, key []byte, site, name string, value []byte) error {
	return o.ask(ctx, request{verb: verbSet, site: site, key: key, value: value, names: []string{name}}, nothingMore)
}

// Remove takes a value out of the rack, ErrNotFound where there is none.
func (o Opener) Remove(ctx context.Context, key []byte, site, name string) error {
	return o.ask(ctx, request{verb: verbRemove, site: site, key: key, names: []string{name}}, nothingMore)
}

// CheckKey says whether key opens the rack.
func (o Opener) CheckKey(ctx context.Context, key []byte) error {
	return o.ask(ctx, request{verb: verbCheck, key: key}, nothingMore)
}

func nothingMore(io.Reader, answerHead) error { return errMalformed }

var errMalformed = errors.New("the process that opens the rack sent a malformed answer")

// ask runs the process for one request and gives each part of its answer to part.
// When it returns, the process and all that it started have been killed.
func (o Opener) ask(ctx context.Context, q request, part func(io.Reader, answerHead) error) error {
	return o.askOf(ctx, nil, q, part)
}

// askOf is ask about a tool's output, where that is not nil.
func (o Opener) askOf(ctx context.Context, output *os.File, q request, part func(io.Reader, answerHead) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := o.start(output)
	if err != nil {
		return fmt.Errorf("opening the rack: %w", err)
	}
	defer p.end()
	over := context.AfterFunc(ctx, p.interrupt)
	defer over()
	q.dir, q.limit = o.Rack.Dir, timeLeft(ctx)
	_ = q.write(p.stdin) // a process that is gone, or refuses early, says so by its answer
	err = p.read(part)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the process that opens the rack died")
	}
	return err
}

// timeLeft is how long ctx lasts, an hour where it has no end.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	return time.Until(deadline)
}

// opening is a process that opens the rack.
type opening struct {
	cmd           *exec.Cmd
	stdin, stdout *os.File
}

func (o Opener) start(output *os.File) (*opening, error) {
	theirIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	stdout, theirOut, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return nil, err
	}
	defer theirOut.Close()
	cmd := exec.Command(o.Program, "__rack")
	cmd.Dir, cmd.Env = "/", o.Environ
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	if output != nil {
		cmd.ExtraFiles = []*os.File{output} // outputFD
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		stdin.Close()
		stdout.Close()
		return nil, err
	}
	return &opening{cmd, stdin, stdout}, nil
}

// interrupt ends what waits for the process. It may be called at any time.
func (p *opening) interrupt() {
	p.stdin.SetDeadline(time.Unix(1, 0))
	p.stdout.SetDeadline(time.Unix(1, 0))
}

// end kills the process, with all of its group, and waits for it elsewhere: one
// that is stuck in the kernel holds up nobody.
func (p *opening) end() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // not waited for yet: the group is surely its own
	p.stdin.Close()
	p.stdout.Close()
	go p.cmd.Wait()
}

// read reads the answer. A value is never read into memory other than what part
// gives: no buffer stands between.
func (p *opening) read(part func(io.Reader, answerHead) error) error {
	buf := make([]byte, headSize)
	for {
		if _, err := io.ReadFull(p.stdout, buf); err != nil {
			return err
		}
		h := parseHead(buf)
		switch h.kind {
		case answerDone:
			return nil
		case answerError:
			return readError(p.stdout, h)
		}
		if h.size > maxRack {
			return errMalformed
		}
		if err := part(p.stdout, h); err != nil {
			return err
		}
	}
}

// openError is an error of the process: one line, and what it is.
type openError struct {
	text string
	is   error
}

func (e *openError) Error() string { return e.text }
func (e *openError) Unwrap() error { return e.is }

// typed are the errors that keep their type on the way, by their place.
var typed = []error{ErrNoRack, ErrNotFound, ErrDamaged, ErrWrongKey, ErrKeyring, context.DeadlineExceeded}

func readError(r io.Reader, h answerHead) error {
	if h.size > maxError {
		return errMalformed
	}
	text := make([]byte, h.size)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	e := &openError{text: oneLine(text)}
	if i := int(h.index); i < len(typed) {
		e.is = typed[i]
	}
	return e
}

// answerHead stands before each part of an answer. index is a value's place among
// the names, the length of an item's site, the place of an error among those that
// are typed; size is the length of what follows.
type answerHead struct {
	kind        byte
	index, size uint32
	until       int64
}

// The kinds of parts.
const (
	answerValue   = 'v'
	answerItem    = 'i'
	answerProblem = 'p' // of one value: its until is the error's place among those that are typed
	answerError   = 'e'
	answerDone    = 'd'
)

const (
	headSize = 1 + 4 + 4 + 8
	maxError = 4 << 10
)

func parseHead(b []byte) answerHead {
	return answerHead{b[0], binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), int64(binary.BigEndian.Uint64(b[9:]))}
}

func (h answerHead) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, h.kind), h.index)
	b = binary.BigEndian.AppendUint32(b, h.size)
	return binary.BigEndian.AppendUint64(b, uint64(h.until))
}
