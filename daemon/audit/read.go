package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Line is one line of the log as it stands there, without its end, valid until the
// next one is read. Err, where not
// nil, says with file and number that it is damaged; then Entry is empty.
type Line struct {
	Entry Entry
	Text  []byte
	Err   error
}

// Read calls f with each line of the log in dir, oldest first, until f returns
// false. A log that does not exist yet is empty.
func Read(dir string, f func(Line) bool) error {
	r := &reader{dir: dir, f: f}
	defer r.close()
	_, err := r.all()
	return err
}

// Follow is Read, but then waits for further lines until ctx ends.
func Follow(ctx context.Context, dir string, f func(Line) bool) error {
	r := &reader{dir: dir, f: f}
	defer r.close()
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	for {
		goOn, err := r.all()
		if err != nil || !goOn {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// followTick is how often Follow looks for more.
const followTick = 200 * time.Millisecond

// reader reads the log through its files, also while they are turned over.
type reader struct {
	dir  string
	f    func(Line) bool
	file *os.File // the newest of which something was read, nil before the first
	from *bufio.Reader
	rest []byte // a line that has no end yet
	n    int    // lines read of file
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// all reads to the end of the newest file. It says whether more is wanted.
func (r *reader) all() (goOn bool, err error) {
	for {
		if r.file != nil {
			if goOn, err := r.lines(); err != nil || !goOn {
				return false, err
			}
		}
		next, err := r.next()
		if err != nil || next == nil {
			return true, err
		}
		// Only now is the file before it finished: lines may have come meanwhile.
		if r.file != nil {
			if goOn, err := r.finish(); err != nil || !goOn {
				next.Close()
				return false, err
			}
		}
		r.close()
		r.file, r.from, r.n = next, bufio.NewReader(next), 0
	}
}

// next opens the file that comes after the one that was read, the oldest at first;
// nil where there is none. It looks again where a file was turned over meanwhile.
func (r *reader) next() (*os.File, error) {
	for range 100 {
		found, at, err := r.files()
		if err != nil || at+1 >= len(found) {
			return nil, err
		}
		info := found[at+1]
		file, err := os.Open(info.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if now, err := file.Stat(); err == nil && os.SameFile(now, info.FileInfo) {
			return file, nil
		}
		file.Close()
	}
	return nil, errors.New("reading the audit log: it is turned over faster than it can be read")
}

// named is a file and where it was found.
type named struct {
	fs.FileInfo
	path string
}

// files lists the log's files, oldest first, and where among them the one stands
// that was read: -1 for none, also where it is gone.
func (r *reader) files() (found []named, at int, err error) {
	if found, err = r.list(); err != nil {
		return nil, 0, err
	}
	for range 100 { // one that is turned over between two looks would be missed
		again, err := r.list()
		if err != nil {
			return nil, 0, err
		}
		if slices.EqualFunc(found, again, func(a, b named) bool { return os.SameFile(a.FileInfo, b.FileInfo) }) {
			break
		}
		found = again
	}
	if r.file == nil {
		return found, -1, nil
	}
	own, err := r.file.Stat()
	return found, slices.IndexFunc(found, func(n named) bool { return os.SameFile(n.FileInfo, own) }), err
}

// list looks at the log's files, oldest first.
func (r *reader) list() (found []named, err error) {
	for n := Keep; n >= 0; n-- {
		info, err := os.Lstat(old(r.dir, n))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("reading the audit log: %w", err)
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("reading the audit log: %s is not a regular file", old(r.dir, n))
		default:
			found = append(found, named{info, old(r.dir, n)})
		}
	}
	return found, nil
}

// lines gives the lines that are whole.
func (r *reader) lines() (goOn bool, err error) {
	for {
		text, err := r.from.ReadSlice('\n')
		r.rest = append(r.rest, text...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if len(r.rest) > maxLine {
				r.rest = append(r.rest[:0], "…"...) // no line of this log, whatever follows
			}
			continue
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("reading the audit log: %w", err)
		}
		if !r.give(bytes.TrimSuffix(r.rest, []byte{'\n'})) {
			return false, nil
		}
		r.rest = r.rest[:0]
	}
}

// finish gives what is left of a file to which nothing comes any more.
func (r *reader) finish() (goOn bool, err error) {
	if goOn, err := r.lines(); err != nil || !goOn || len(r.rest) == 0 {
		return goOn, err
	}
	goOn = r.give(r.rest)
	r.rest = r.rest[:0]
	return goOn, nil
}

func (r *reader) give(text []byte) bool {
	r.n++
	e, err := parse(text)
	if err != nil {
		err = fmt.Errorf("%s:%d: %w", r.file.Name(), r.n, err)
	}
	return r.f(Line{Entry: e, Text: text, Err: err})
}
