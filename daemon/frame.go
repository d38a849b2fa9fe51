package daemon

import (
	"bytes"
	"errors"
	"strconv"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
)

// frame is an answer as it goes over the socket. One that holds a value lies in
// the arena. Who has it frees it.
type frame struct {
	bytes []byte
	block arena.Block
}

func (c *Cache) free(f frame) { c.arena.Free(f.block) }

// variable is one environment variable of an answer: a value that is held, or
// plain, which is no secret.
type variable struct {
	name  string
	plain []byte
	held  held
}

func (v variable) size() int { return len(v.plain) + v.held.block.Len() }

// encode makes the frame of an answer whose fields, after the version, hold no
// value.
func encode(fields [][]byte) (frame, error) {
	text, err := wire.Encode(append([][]byte{[]byte(wire.Version)}, fields...)...)
	if err != nil {
		return frame{}, failed("the answer holds a NUL byte")
	}
	return frame{bytes: text}, checkSize(len(text))
}

func checkSize(size int) error {
	if size > wire.MaxAnswer {
		return failed("the answer is over " + strconv.Itoa(wire.MaxAnswer>>20) + " MiB")
	}
	return nil
}

// encodeLocked makes the frame of a grant: head are the fields before the
// variables, the version first.
func (c *Cache) encodeLocked(head [][]byte, vars []variable) (frame, error) {
	size := 0
	for _, field := range head {
		size += len(field) + 1
	}
	for _, v := range vars {
		size += len(v.name) + 1 + v.size() + 1
	}
	if err := checkSize(size); err != nil {
		return frame{}, err
	}
	block, err := c.arena.Alloc(wire.FrameSize(size))
	if err != nil {
		return frame{}, full(err)
	}
	defer c.shutLocked()
	// What is appended never outgrows the block: that is its size.
	text := wire.AppendHeader(block.Bytes()[:0], size)
	for _, field := range head {
		text = append(append(text, field...), 0)
	}
	for _, v := range vars {
		text = append(append(text, v.name...), 0)
		text = append(text, v.plain...)
		at := len(text)
		text = text[:at+v.held.block.Len()]
		if err := c.openLocked(v.held, text[at:]); err != nil {
			c.arena.Free(block)
			return frame{}, err
		}
		text = append(text, 0)
	}
	return frame{text, block}, nil
}

// valueFrame is room for the frame of an answer ok with one value of size bytes,
// and where in it the value has to be put.
func (c *Cache) valueFrame(size int) (f frame, value []byte, err error) {
	head := wire.Version + "\x00" + wire.OK + "\x00"
	payload := len(head) + size + 1
	if err := checkSize(payload); err != nil {
		return frame{}, nil, err
	}
	block, err := c.arena.Alloc(wire.FrameSize(payload))
	if err != nil {
		return frame{}, nil, full(err)
	}
	all := block.Bytes()
	at := len(append(wire.AppendHeader(all[:0], payload), head...))
	return frame{all, block}, all[at : at+size], nil // what ends it, a NUL byte, is there
}

// parse reads what a frame of this package holds, on behalf of who is in the same
// process. The fields share memory with nothing.
func (f frame) parse() ([][]byte, error) {
	fields, err := wire.ReadFrame(bytes.NewReader(f.bytes), wire.MaxAnswer)
	if err != nil || len(fields) < 2 {
		return nil, failed("malformed answer")
	}
	return fields[1:], nil
}

// full is the error of an arena that has no more room.
func full(err error) error {
	if errors.Is(err, arena.ErrFull) {
		return failed(arena.ErrFull.Error())
	}
	return failed(err.Error())
}
