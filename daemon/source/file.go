package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// readFile reads a regular file of at most limit bytes. The caller wipes it.
func readFile(path string, limit int64) ([]byte, error) {
	file, info, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readOpen(file, info, limit)
}

// openFile opens a regular file for reading, and never waits for a pipe.
func openFile(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// readOpen reads an open file into one buffer that never moves, so that nothing
// of it is left elsewhere.
func readOpen(file *os.File, info fs.FileInfo, limit int64) ([]byte, error) {
	if info.Size() > limit {
		return nil, tooBig(file.Name(), limit)
	}
	buf := make([]byte, info.Size()+1)
	n, err := io.ReadFull(file, buf)
	if err == nil { // it grew since it was opened
		clear(buf)
		return nil, fmt.Errorf("%s: changed while it was read", file.Name())
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		clear(buf)
		return nil, err
	}
	return buf[:n], nil
}

func tooBig(path string, limit int64) error {
	if limit < 1<<20 {
		return fmt.Errorf("%s: over %d KiB", path, limit>>10)
	}
	return fmt.Errorf("%s: over %d MiB", path, limit>>20)
}

// temporary matches the files that writeFile leaves behind where it is killed.
const temporary = ".keyrack-*.tmp"

// writeFile replaces the file at path by what write writes, at once or not at
// all: when it returns nil, the new one survives a crash. The file is 0600. A
// symbolic link stays one, and the file that it leads to is replaced.
func writeFile(path string, write func(io.Writer) error) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, temporary)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return syncDir(dir)
}

func writeBytes(path string, text []byte) error {
	return writeFile(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// syncDir makes renames in dir last.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	err = file.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) { // some file systems have no such thing
		return nil
	}
	return err
}

// lockWrites makes this the one writer of the rack until release is called. It
// waits for another writer as long as ctx lets it.
func (r Rack) lockWrites(ctx context.Context) (release func(), err error) {
	file, err := os.OpenFile(r.writersLock(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, file); err != nil {
		file.Close()
		return nil, fmt.Errorf("waiting for another writer of the rack: %w", err)
	}
	return func() { file.Close() }, nil
}

func flock(ctx context.Context, file *os.File) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sweep removes what killed writers left in Dir. The caller is the one writer.
func (r Rack) sweep() {
	entries, _ := os.ReadDir(r.Dir)
	for _, e := range entries {
		if left, _ := filepath.Match(temporary, e.Name()); left {
			os.Remove(filepath.Join(r.Dir, e.Name()))
		}
	}
}
