// Package arena keeps bytes that nobody else may see outside the Go heap: in
// pages that the garbage collector never copies and that the kernel keeps out of
// core dumps and swap, and on Linux, where memfd_secret(2) works, also out of its
// own reach. It wipes what it takes back.
//
// It knows nothing of secrets' names, owners or times: that is package daemon.
package arena

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Kind names the memory that an arena uses, as `keyrack status` says it.
type Kind string

// The kinds, the best first.
const (
	Secret   Kind = "memfd_secret"
	Locked   Kind = "mlock, left out of core dumps"
	Unlocked Kind = "plain pages, left out of core dumps: locking memory is not allowed here"
)

// ErrFull says that the kernel gives no more memory of the arena's kind. Nothing
// that the arena holds is lost.
var ErrFull = errors.New("the secret memory is full: raise the limit of locked memory (ulimit -l)")

const (
	grain     = 16        // every block starts at a multiple, and takes a multiple
	chunkSize = 256 << 10 // mapped at a time; a bigger block has a chunk of its own
)

// Arena hands out blocks. Methods may be called at the same time.
type Arena struct {
	kind Kind

	mu     sync.Mutex
	chunks []*chunk
}

// chunk is one mapping. free are its free spans, in order, no two of them adjacent.
type chunk struct {
	mem  []byte
	free []span
}

type span struct{ from, to int }

// Block is a place in an arena. The zero Block holds nothing and can be freed.
type Block struct {
	chunk    *chunk
	from, to int
}

// New makes an arena of the best kind that works here. With strict it fails where
// that would be Unlocked.
func New(strict bool) (*Arena, error) {
	kinds := []Kind{Secret, Locked, Unlocked}
	if strict {
		kinds = kinds[:2]
	}
	var problems error
	for _, kind := range kinds {
		a := &Arena{kind: kind}
		c, err := a.grow(chunkSize)
		if err == nil {
			a.chunks = []*chunk{c}
			return a, nil
		}
		problems = errors.Join(problems, fmt.Errorf("%s: %w", kind, err))
	}
	return nil, fmt.Errorf("no memory for secrets: %w", problems)
}

// Kind is the kind of all of the arena's memory.
func (a *Arena) Kind() Kind { return a.kind }

// Alloc returns a zeroed block of n bytes, or ErrFull.
func (a *Arena) Alloc(n int) (Block, error) {
	if n == 0 {
		return Block{}, nil
	}
	size := (n + grain - 1) / grain * grain
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.chunks {
		if from, ok := c.take(size); ok {
			return Block{c, from, from + n}, nil
		}
	}
	c, err := a.grow(max(size, chunkSize))
	if err != nil {
		return Block{}, fmt.Errorf("%w: %w", ErrFull, err)
	}
	a.chunks = append(a.chunks, c)
	from, _ := c.take(size)
	return Block{c, from, from + n}, nil
}

// Copy is Alloc of a block that holds the bytes of parts.
func (a *Arena) Copy(parts ...[]byte) (Block, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b, err := a.Alloc(n)
	if err != nil {
		return Block{}, err
	}
	to := b.Bytes()
	for _, p := range parts {
		to = to[Move(to, p):]
	}
	return b, nil
}

// Move copies as much of from as fits into to, and returns how much that is. Nothing
// of it stays in the processor's registers, from where the kernel would write it to
// a stack with the next signal, or into a core.
func Move(to, from []byte) int {
	n := copy(to, from)
	Forget()
	return n
}

// Forget overwrites the registers that hold what was copied last, by a copy that
// takes as many of them as there are.
func Forget() {
	var over [256]byte
	copy(over[:], blank)
}

var blank = make([]byte, 256) // a variable, so that it is copied as others are

// Bytes is the block's memory itself, until Free. Only copying system calls may
// be given it: the kernel can't pin pages of the kind Secret.
func (b Block) Bytes() []byte {
	if b.chunk == nil {
		return nil
	}
	return b.chunk.mem[b.from:b.to:b.to]
}

// Len is the number of bytes.
func (b Block) Len() int { return b.to - b.from }

// Free wipes a block and takes it back. A block is freed once.
func (a *Arena) Free(b Block) {
	if b.chunk == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(b.Bytes())
	c := b.chunk
	c.give(span{b.from, b.from + (b.to-b.from+grain-1)/grain*grain})
	if len(a.chunks) > 1 && c.empty() {
		a.chunks = slices.DeleteFunc(a.chunks, func(other *chunk) bool { return other == c })
		unmap(c.mem)
	}
}

// Close wipes everything and gives all memory back. No block may be used after it.
func (a *Arena) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.chunks {
		clear(c.mem)
		unmap(c.mem)
	}
	a.chunks = nil
}

func (a *Arena) grow(size int) (*chunk, error) {
	mem, err := mapPages(a.kind, (size+chunkSize-1)/chunkSize*chunkSize)
	if err != nil {
		return nil, err
	}
	return &chunk{mem: mem, free: []span{{0, len(mem)}}}, nil
}

// take finds the first free span of at least size bytes.
func (c *chunk) take(size int) (from int, ok bool) {
	for i, s := range c.free {
		if s.to-s.from < size {
			continue
		}
		if s.to-s.from == size {
			c.free = slices.Delete(c.free, i, i+1)
		} else {
			c.free[i].from += size
		}
		return s.from, true
	}
	return 0, false
}

// give takes a span back and joins it with its free neighbours.
func (c *chunk) give(s span) {
	i, _ := slices.BinarySearchFunc(c.free, s, func(a, b span) int { return a.from - b.from })
	if i < len(c.free) && c.free[i].from == s.to {
		s.to = c.free[i].to
		c.free = slices.Delete(c.free, i, i+1)
	}
	if i > 0 && c.free[i-1].to == s.from {
		c.free[i-1].to = s.to
		return
	}
	c.free = slices.Insert(c.free, i, s)
}

func (c *chunk) empty() bool {
	return len(c.free) == 1 && c.free[0] == span{0, len(c.mem)}
}
