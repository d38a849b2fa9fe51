package daemon

import (
	"errors"
	"strconv"
	"time"

	"keyrack/daemon/arena"
	"keyrack/daemon/seal"
	"keyrack/daemon/wire"
)

// sealing is how what is held stays unreadable once it has ended, even while the
// daemon stands still and wipes nothing. It is guarded by the cache's lock.
type sealing struct {
	keys *seal.Keys // nil where nothing is sealed
	bare int        // how much is held unsealed although there are keys
	why  error      // of the last of these
}

// sealedProperty is what status calls it where it is not in force.
const sealedProperty = "values sealed under a key that ends with them: "

// takeKeys makes the keys, in the keyring with that number, or says why there are
// none.
func (c *Cache) takeKeys(keyring string) error {
	id, err := strconv.Atoi(keyring)
	if err != nil {
		return errors.New(keyring)
	}
	return c.takeKeysOf(seal.Keyring(id))
}

func (c *Cache) takeKeysOf(kernel seal.Kernel) error {
	room, err := c.arena.Alloc(seal.Size)
	if err != nil {
		return err
	}
	if c.sealing.keys, err = seal.New(kernel, room.Bytes()); err != nil {
		c.sealing.keys = nil
		c.arena.Free(room)
	}
	return err
}

// keepLocked seals block, which is held until then. Where that can't be it is held as
// it is, which status tells, or with strict an error, and still the caller's.
// shutLocked has to come after it.
func (c *Cache) keepLocked(block arena.Block, until time.Duration, strict bool) (held, error) {
	h := held{block: block, until: until}
	if c.sealing.keys == nil {
		return h, nil
	}
	sealed, err := c.sealing.keys.Seal(block.Bytes(), until-c.now())
	switch {
	case err == nil:
		h.sealed = sealed
	case strict:
		return held{}, &wire.Error{Status: wire.Unavailable, Message: refusedByStrict + sealedProperty + err.Error()}
	default:
		c.sealing.bare++
		c.sealing.why = err
	}
	return h, nil
}

// openLocked puts what h holds into to, which is as long. shutLocked has to come
// after it.
func (c *Cache) openLocked(h held, to []byte) error {
	if h.sealed == (seal.Sealed{}) {
		copy(to, h.block.Bytes())
		return nil
	}
	return c.sealing.keys.Open(h.sealed, to, h.block.Bytes())
}

// showLocked calls f with what h holds, which is wiped afterwards.
func (c *Cache) showLocked(h held, f func(value []byte)) error {
	block, err := c.arena.Alloc(h.block.Len())
	if err != nil {
		return err
	}
	defer c.arena.Free(block)
	defer c.shutLocked()
	if err := c.openLocked(h, block.Bytes()); err != nil {
		return err
	}
	f(block.Bytes())
	return nil
}

// shutLocked leaves nothing of a key or a value outside of the arena.
func (c *Cache) shutLocked() {
	if c.sealing.keys != nil {
		c.sealing.keys.Shut()
	}
	arena.Forget()
}

// releaseLocked wipes what h holds, and takes its key back where it is the last
// under it.
func (c *Cache) releaseLocked(h held) {
	if h == (held{}) {
		return
	}
	c.arena.Free(h.block)
	switch {
	case h.sealed != (seal.Sealed{}):
		c.sealing.keys.Drop(h.sealed)
	case c.sealing.keys != nil:
		c.sealing.bare--
	}
}

// sealWeak tells of what is held unsealed, one line where there is something.
func (c *Cache) sealWeak() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sealing.bare == 0 {
		return nil
	}
	return []string{sealedProperty + c.sealing.why.Error()}
}
