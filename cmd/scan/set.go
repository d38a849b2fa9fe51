// Package scan looks for values in files and in git: the values themselves, and forms
// in which they are often written. It keeps them in an arena, and what it says of a
// place that it found never holds one. It knows nothing of worksites or of where values come from.
package scan

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"keyrack/daemon/arena"
)

// Shortest is the length in bytes of the shortest value that is looked for: shorter
// ones stand in much that is no secret.
const Shortest = 8

// pattern is a value's bytes in one form.
type pattern struct {
	name, form string
	text       []byte
}

// Set is the values that are looked for. Once built it may be used by many at once.
//
// It is searched as Wu and Manber do (A fast algorithm for multi-pattern searching,
// 1994): where the three bytes at the end of a window as long as the shortest pattern
// stand in no pattern, the window moves on by nearly its length.
type Set struct {
	arena    *arena.Arena
	patterns []pattern
	window   int
	longest  int
	bits     uint             // of a block's hash
	shift    []uint8          // by hash: how far a window that ends in such a block can move
	ending   map[uint32][]int // by hash, where that is 0: the patterns whose windows end so
}

const block = 3

// NewSet makes an empty set whose values are kept in a.
func NewSet(a *arena.Arena) *Set { return &Set{arena: a} }

// Add has value looked for under name. It says whether value is long enough; of line ends
// at its end that is without them, since programs often drop them. Build comes after the last Add.
func (s *Set) Add(name string, value []byte) (long bool, err error) {
	value = bytes.TrimRight(value, "\r\n")
	if len(value) < Shortest {
		return false, nil
	}
	first := len(s.patterns)
	for _, f := range forms {
		for _, write := range f.write {
			text := write(value)
			if text == nil || slices.ContainsFunc(s.patterns[first:], func(p pattern) bool { return bytes.Equal(p.text, text) }) {
				continue
			}
			kept, err := s.arena.Copy(text)
			if f.name != plain {
				clear(text)
			}
			if err != nil {
				return true, err
			}
			s.patterns = append(s.patterns, pattern{name, f.name, kept.Bytes()})
		}
	}
	return true, nil
}

// Build makes the set ready.
func (s *Set) Build() {
	s.window = 255
	for _, p := range s.patterns {
		s.window = min(s.window, len(p.text))
		s.longest = max(s.longest, len(p.text))
	}
	s.bits = 15
	for 1<<s.bits < 64*len(s.patterns)*s.window && s.bits < 22 {
		s.bits++
	}
	s.shift = bytes.Repeat([]byte{byte(s.window - block + 1)}, 1<<s.bits)
	s.ending = map[uint32][]int{}
	for n, p := range s.patterns {
		for i := 0; i+block <= s.window; i++ {
			h := s.hash(uint32(p.text[i]) | uint32(p.text[i+1])<<8 | uint32(p.text[i+2])<<16)
			s.shift[h] = min(s.shift[h], byte(s.window-block-i))
			if i+block == s.window {
				s.ending[h] = append(s.ending[h], n)
			}
		}
	}
}

func (s *Set) hash(b uint32) uint32 { return (b & 0xffffff) * 0x9e3779b1 >> (32 - s.bits) }

// find calls found with each place in b before limit at which a pattern begins, in
// order. It ends where found says false.
func (s *Set) find(b []byte, limit int, found func(at int, p pattern) bool) {
	if len(s.patterns) == 0 {
		return
	}
	back := s.window - block
	shift, shiftBy := s.shift, 32-s.bits
	at := back
	for last := min(len(b)-4, limit-1+back); at <= last; {
		h := (binary.LittleEndian.Uint32(b[at:]) & 0xffffff) * 0x9e3779b1 >> shiftBy
		if far := shift[h]; far != 0 {
			at += int(far)
			continue
		}
		if !s.check(b, at-back, h, found) {
			return
		}
		at++
	}
	if at == len(b)-block && at-back < limit { // the last block, which has no fourth byte
		s.check(b, at-back, s.hash(uint32(b[at])|uint32(b[at+1])<<8|uint32(b[at+2])<<16), found)
	}
}

func (s *Set) check(b []byte, from int, h uint32, found func(at int, p pattern) bool) bool {
	for _, n := range s.ending[h] {
		if bytes.HasPrefix(b[from:], s.patterns[n].text) && !found(from, s.patterns[n]) {
			return false
		}
	}
	return true
}

// Mask is text with a value's name in place of the value, and the names.
func (s *Set) Mask(text string) (masked string, names []string) {
	b := []byte(text)
	defer clear(b)
	var out strings.Builder
	from := 0
	s.find(b, len(b), func(at int, p pattern) bool {
		if !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
		if at >= from {
			out.WriteString(text[from:at] + "[" + p.name + "]")
		}
		from = max(from, at+len(p.text))
		return true
	})
	return out.String() + text[from:], names
}
