package scan

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// Report is told what was found and what could not be searched. Both may be called at
// the same time.
type Report struct {
	Found   func(Finding)
	Problem func(path string, err error)
}

// Tree searches the regular files in root, or root, and returns how many they are. Links
// are not followed. Of what git keeps, it leaves out the objects, which are compressed.
func (s *Set) Tree(ctx context.Context, root string, report Report) (files int, err error) {
	paths := make(chan string, 256)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			r := s.reader()
			for path := range paths {
				r.file(path, report)
			}
		})
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			report.Problem(path, err)
		case entry.IsDir():
			if entry.Name() == "objects" && isObjects(path) {
				return fs.SkipDir
			}
			s.name(path, report)
		case entry.Type().IsRegular():
			files++
			s.name(path, report)
			paths <- path
		}
		return nil
	})
	close(paths)
	workers.Wait()
	return files, err
}

// name searches the last part of a path.
func (s *Set) name(path string, report Report) {
	_, names := s.Mask(filepath.Base(path))
	for _, name := range names {
		report.Found(Finding{Path: path, Name: name, Form: inName, In: InTree})
	}
}

// isObjects says whether dir is where git keeps objects.
func isObjects(dir string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(dir), "HEAD"))
	_, err2 := os.Stat(filepath.Join(dir, "pack"))
	return err == nil && err2 == nil
}

func (r *reader) file(path string, report Report) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err == nil {
		err = r.open(path, file, report)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is gone is no problem
		report.Problem(path, err)
	}
}

func (r *reader) open(path string, file *os.File, report Report) error {
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return r.search(file, func(f Finding) {
		f.Path, f.In = path, InTree
		report.Found(f)
	})
}
