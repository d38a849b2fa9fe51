package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// MaxSize is how many bytes one file of the log has at most, Keep how many old
// ones there are beside it: name.1 is the newest of them.
const (
	MaxSize = 1 << 20
	Keep    = 4
)

// Name is the file of the log in its directory.
const Name = "audit.jsonl"

// Path is the log's file in dir.
func Path(dir string) string { return filepath.Join(dir, Name) }

// old is the n-th old file, the log itself for 0.
func old(dir string, n int) string {
	if n == 0 {
		return Path(dir)
	}
	return Path(dir) + "." + strconv.Itoa(n)
}

// file is the end of the log that lines are written to. Several processes may
// have one log. Each of them holds a lock while it writes, and looks the file up by
// its name then, because another one may have turned it into an old one.
type file struct {
	dir  string
	max  int64
	keep int
	wait time.Duration // for other writers, 0 for lockTime

	open *os.File
	size int64 // of the file after this process wrote last
	torn bool  // the last line has no end
}

// append writes whole lines, pieces of them in one system call.
func (f *file) append(lines [][]byte) (written int, err error) {
	unlock, err := f.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	for written < len(lines) {
		n, err := f.piece(lines[written:])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// prepare makes what is missing and says what will keep lines from being written.
func (f *file) prepare() error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return f.ready()
}

// lockTime is how long other writers of the log may take.
const lockTime = 500 * time.Millisecond

// lock makes this process the one writer.
func (f *file) lock() (unlock func(), err error) {
	if err := makeDir(f.dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(f.dir, "audit.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the audit log: %w", err)
	}
	wait := f.wait
	if wait == 0 {
		wait = lockTime
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { lock.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
		case time.Now().Before(deadline):
			continue
		default:
			err = errors.New("another process holds it")
		}
		lock.Close()
		return nil, fmt.Errorf("locking the audit log: %w", err)
	}
}

// maxPiece bounds one system call.
const maxPiece = 64 << 10

// piece writes the first of lines, as many as go into one piece, and says how many
// are whole in the file.
func (f *file) piece(lines [][]byte) (whole int, err error) {
	n, size := 0, 1
	for n < len(lines) && (n == 0 || size+len(lines[n]) <= maxPiece) {
		size += len(lines[n])
		n++
	}
	if err := f.room(int64(size)); err != nil {
		return 0, err
	}
	text := make([]byte, 0, size)
	if f.torn {
		text = append(text, '\n')
	}
	end := len(text)
	for _, line := range lines[:n] {
		text = append(text, line...)
	}
	wrote, err := f.open.Write(text)
	if wrote > 0 {
		f.torn = text[wrote-1] != '\n'
		f.size += int64(wrote)
	}
	for whole < n && end+len(lines[whole]) <= wrote {
		end += len(lines[whole])
		whole++
	}
	return whole, err
}

// ready opens the file, unless it is open and still the one of that name.
func (f *file) ready() error {
	if f.open != nil {
		now, err := os.Lstat(Path(f.dir))
		own, errOwn := f.open.Stat()
		if err == nil && errOwn == nil && os.SameFile(now, own) {
			return nil
		}
		f.close()
	}
	file, err := os.OpenFile(Path(f.dir), os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	if err := private(file); err != nil {
		file.Close()
		return err
	}
	f.open, f.size, f.torn = file, 0, false // room looks
	return nil
}

func (f *file) close() {
	if f.open != nil {
		f.open.Close()
		f.open = nil
	}
}

// makeDir makes the log's directory and refuses one that others may use.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the audit log's directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user", dir)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %03o)", dir, st.Mode&0o777)
	}
	return nil
}

// private refuses a file that is not this user's alone.
func private(file *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is not a regular file", file.Name())
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user", file.Name())
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %03o)", file.Name(), st.Mode&0o777)
	}
	return nil
}

// unfinished says whether the last line has no end: whoever wrote it was killed,
// or the disk was full.
func unfinished(file *os.File, size int64) (bool, error) {
	if size == 0 {
		return false, nil
	}
	last := []byte{0}
	if _, err := file.ReadAt(last, size-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// room has the file open, and turns it over where size more bytes would be too
// many: each file becomes the next older.
func (f *file) room(size int64) error {
	if err := f.ready(); err != nil {
		return err
	}
	info, err := f.open.Stat()
	if err == nil && info.Size() != f.size { // another process wrote, and may have been killed
		f.size = info.Size()
		f.torn, err = unfinished(f.open, f.size)
	}
	if err != nil || f.size == 0 || f.size+size <= f.max {
		return err
	}
	for n := f.keep; n > 0; n-- {
		err := os.Rename(old(f.dir, n-1), old(f.dir, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("turning the audit log over: %w", err)
		}
	}
	return f.ready() // a new file
}
