package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// lent is a file that holds one value, for a command that runs. Its name ends with the
// command, with the value, and with the daemon; after a crash with the next one.
type lent struct {
	grant  *grant // whose value it is
	name   string
	path   string
	forget func() // waits no more for the command's end
}

// filesDir is where they lie: in the session's own directory, which nobody else may
// enter.
func filesDir(p wire.Place) string { return filepath.Join(p.Dir, "files") }

// lendLocked puts the value of v, which g holds, or a default, into a file for the
// process who, and makes the file's path the value. A file in memory keeps nobody waiting.
func (c *Cache) lendLocked(g *grant, s worksite.Secret, v variable, who *peer) (variable, error) {
	if who == nil {
		return v, failed(s.Name + " is given to a command alone: keyrack exec")
	}
	path, err := c.writeLocked(filesDir(c.place), v)
	if err != nil {
		return v, fmt.Errorf("%s needs a file: %w", s.Name, err)
	}
	l := &lent{grant: g, name: s.Name, path: path}
	l.forget, err = who.handle.whenEnded(func() {
		c.mu.Lock()
		c.removeLocked(l)
		c.mu.Unlock()
		c.becameEmpty()
	})
	if err != nil {
		os.Remove(path)
		return v, fmt.Errorf("%s needs a file: %w", s.Name, err)
	}
	if c.lent == nil {
		c.lent = map[*lent]struct{}{}
	}
	c.lent[l] = struct{}{}
	return variable{name: v.name, plain: []byte(path)}, nil
}

// takeBackLocked removes the files of one value.
func (c *Cache) takeBackLocked(g *grant, name string) {
	for l := range c.lent {
		if l.grant == g && l.name == name {
			c.removeLocked(l)
			l.forget()
		}
	}
}

// removeLocked removes a file that is still there.
func (c *Cache) removeLocked(l *lent) {
	if _, there := c.lent[l]; there {
		delete(c.lent, l)
		os.Remove(l.path)
	}
}

// writeLocked makes a file of mode 0400 in dir.
func (c *Cache) writeLocked(dir string, v variable) (path string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := inMemory(dir); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, v.name+".*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(v.plain)
	if v.held.block.Len() > 0 {
		failed := c.showLocked(v.held, func(value []byte) { _, err = file.Write(value) })
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, file.Chmod(0o400), file.Close()); err != nil {
		os.Remove(file.Name())
	}
	return file.Name(), err
}
