package daemon

import (
	"crypto/rand"
	"errors"
	"os"
	"slices"
)

// newWord is a generation that no shell has seen.
func newWord() string { return rand.Text() }

// changeLocked makes every answer so far, and those in preparation, an old one.
// It returns the shells to tell once the lock is free.
func (c *Cache) changeLocked() []shell {
	c.epoch++
	c.word = newWord()
	return c.shellsLocked("")
}

// tell publishes the generation and then wakes the shells, which read it.
func (c *Cache) tell(shells []shell) error {
	err := c.publish()
	c.forgetShells(urgeAll(shells))
	return err
}

// told is tell for who asked for the change.
func (c *Cache) told(shells []shell) error {
	if err := c.tell(shells); err != nil {
		return failed("done, but shells can't be told: " + err.Error())
	}
	return nil
}

// publish writes the current generation, by a rename. When that fails it removes
// the file: shells then take everything as changed.
func (c *Cache) publish() error {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	c.mu.Lock()
	word := c.word
	c.mu.Unlock()
	next := c.place.Generation + ".next"
	err := os.WriteFile(next, []byte(word+"\n"), 0o600)
	if err == nil {
		err = os.Rename(next, c.place.Generation)
	}
	if err != nil {
		os.Remove(next)
		return errors.Join(err, os.Remove(c.place.Generation))
	}
	return nil
}

// shell is an interactive shell that exports a worksite's values for as long as
// it is inside. start tells it from a later process with the same pid.
type shell struct {
	pid   int
	start string
	root  string
}

// maxShells bounds the shells that are told of changes.
const maxShells = 4096

// register remembers a shell of this user. What can't be a shell to tell, because
// it is gone or another user's, is left out.
func (c *Cache) register(pid int, root string) {
	start, uid, err := processStart(pid)
	if err != nil || uid != os.Geteuid() {
		return
	}
	c.mu.Lock()
	known, old := c.shells[pid]
	full := len(c.shells) >= maxShells
	c.mu.Unlock()
	if old && known.start == start && known.root == root {
		return
	}
	if full {
		c.prune()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.shells) < maxShells {
		c.shells[pid] = shell{pid, start, root}
	}
}

// prune forgets the shells that are gone.
func (c *Cache) prune() {
	c.mu.Lock()
	shells := c.shellsLocked("")
	c.mu.Unlock()
	shells = slices.DeleteFunc(shells, func(s shell) bool {
		start, _, err := processStart(s.pid)
		return err == nil && start == s.start
	})
	c.forgetShells(shells)
}

func (c *Cache) forgetShells(gone []shell) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range gone {
		if c.shells[s.pid] == s {
			delete(c.shells, s.pid)
		}
	}
}

// shellsLocked lists the shells inside root, "" for all, by pid.
func (c *Cache) shellsLocked(root string) []shell {
	var shells []shell
	for _, s := range c.shells {
		if root == "" || s.root == root {
			shells = append(shells, s)
		}
	}
	slices.SortFunc(shells, func(a, b shell) int { return a.pid - b.pid })
	return shells
}
