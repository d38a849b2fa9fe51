package source

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"keyrack/daemon/arena"
)

// running is a tool that runs.
type running struct{ stop, done, out, errs *os.File }

func (t Tools) start(j job) (*running, error) {
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errs, theirErrs, err := os.Pipe()
	if err != nil {
		out.Close()
		theirOut.Close()
		return nil, err
	}
	stop, done, err := t.Runner.start(j, theirOut, theirErrs)
	if err != nil {
		out.Close()
		errs.Close()
		return nil, err
	}
	return &running{stop, done, out, errs}, nil
}

// end kills the tool and ends what waits for it. It may be called at any time.
func (p *running) end() {
	p.stop.Close()
	p.done.Close()
	p.out.Close()
	p.errs.Close()
}

// maxSaid is how much of what a tool says is looked at, in bytes.
const maxSaid = 4 << 10

// collect waits for the tool, has read read its output, and returns what it wrote to
// standard error, which the caller frees. An error is of the reading.
func (p *running) collect(a *arena.Arena, read func(*os.File) error) (said arena.Block, o outcome, err error) {
	heard := make(chan arena.Block, 1)
	go func() {
		block, err := readInto(a, p.errs, maxSaid)
		if errors.Is(err, errTooLong) {
			io.Copy(io.Discard, p.errs)
		}
		heard <- block
	}()
	ended := make(chan error, 1)
	go func() {
		err := json.NewDecoder(io.LimitReader(p.done, maxSaid)).Decode(&o)
		// All that the tool wrote is in the pipes. Nothing that it left behind, in a
		// session of its own, is waited for.
		for _, f := range []*os.File{p.out, p.errs} {
			f.SetReadDeadline(time.Now().Add(time.Second))
		}
		ended <- err
	}()
	if err = read(p.out); err != nil {
		p.stop.Close() // kills it, where it has not failed itself
	}
	p.out.Close() // what writes on is told so
	said = <-heard
	if gone := <-ended; err == nil && gone != nil {
		err = errNoRunner
	}
	return said, o, err
}

// readInto reads to the end, or until the tool has ended and nothing comes any more,
// and returns what it read also with an error: errTooLong where that is more than
// limit.
func readInto(a *arena.Arena, r io.Reader, limit int) (arena.Block, error) {
	block, err := a.Alloc(min(limit, 4<<10))
	n := 0
	for err == nil {
		if n == block.Len() {
			if block.Len() > limit {
				return block, errTooLong
			}
			block, err = grow(a, block, min(2*n, limit+1))
			continue
		}
		var m int
		m, err = r.Read(block.Bytes()[n:])
		n += m
	}
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	exact, tight := a.Copy(block.Bytes()[:n])
	a.Free(block)
	return exact, errors.Join(err, tight)
}

// grow moves a block to one of size bytes.
func grow(a *arena.Arena, block arena.Block, size int) (arena.Block, error) {
	bigger, err := a.Alloc(size)
	if err != nil {
		return block, err
	}
	arena.Move(bigger.Bytes(), block.Bytes())
	a.Free(block)
	return bigger, nil
}
