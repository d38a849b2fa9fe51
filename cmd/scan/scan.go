package scan

import (
	"bytes"
	"errors"
	"io"
)

// Finding is a place at which a value stands. In says whether it is a file of the tree, git's index or
// git's history, where Commit is the one that brought it, "" for none. Line and Column
// count from 1, bytes; Line 0 is the file's name.
type Finding struct {
	Path   string `json:"path"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Name   string `json:"name"`
	Form   string `json:"form"`
	In     string `json:"in"`
	Commit string `json:"commit,omitempty"`

	object string
}

// Where a finding is.
const (
	InTree    = "tree"
	InIndex   = "index"
	InHistory = "history"
)

// inName is the Form of a value in the name of a file.
const inName = "in the name"

// most is how many places of one file are listed.
const most = 100

// ErrMore says that a file holds more places than are listed.
var ErrMore = errors.New("it holds more than are listed")

// reader searches one text after the other.
type reader struct {
	set *Set
	buf []byte
}

const chunk = 256 << 10

func (s *Set) reader() *reader {
	return &reader{s, make([]byte, max(chunk, 2*s.longest))}
}

// search calls found for each place in text, which is read to its end or, after ErrMore,
// not. Only Line, Column, Name and Form are set.
func (r *reader) search(text io.Reader, found func(Finding)) error {
	line, column, n, places := 1, 1, 0, 0 // line and column of buf[0]
	for {
		read, err := r.fill(text, n)
		n += read
		if err != nil && err != io.EOF {
			return err
		}
		limit := n
		if err == nil { // what begins later may go on in what is read next
			limit = max(0, n-r.set.longest+1)
		}
		counted := 0
		count := func(to int) {
			part := r.buf[counted:to]
			if last := bytes.LastIndexByte(part, '\n'); last >= 0 {
				line += bytes.Count(part, newline)
				column = 1
				part = part[last+1:]
			}
			column += len(part)
			counted = to
		}
		r.set.find(r.buf[:n], limit, func(at int, p pattern) bool {
			if places++; places > most {
				return false
			}
			count(at)
			found(Finding{Line: line, Column: column, Name: p.name, Form: p.form})
			return true
		})
		if places > most {
			return ErrMore
		}
		if err == io.EOF {
			return nil
		}
		count(limit)
		n = copy(r.buf, r.buf[limit:n])
	}
}

var newline = []byte{'\n'}

// fill reads until the buffer, which holds n bytes, is full, or the text ends: io.EOF.
func (r *reader) fill(text io.Reader, n int) (read int, err error) {
	for n+read < len(r.buf) && err == nil {
		var more int
		more, err = text.Read(r.buf[n+read:])
		read += more
	}
	return read, err
}
