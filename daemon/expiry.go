package daemon

import (
	"time"

	"keyrack/daemon/arena"
	"keyrack/daemon/seal"
)

// held is one value and the moment that ends it. The zero held is none.
type held struct {
	block  arena.Block
	until  time.Duration
	sealed seal.Sealed
}

func (h held) lives(now time.Duration) bool { return now < h.until }

// takeMemory makes the arena, of the best kind of memory that works here, and the
// keys for what lies in it, in keyring; "" for none.
func (c *Cache) takeMemory(keyring string) (err error) {
	if c.arena, err = arena.New(false); err != nil {
		return err
	}
	if kind := c.arena.Kind(); kind == arena.Unlocked {
		c.weak = append(c.weak, "memory that is never swapped out: values are in "+string(kind))
	}
	if keyring == "" {
		return nil
	}
	if err := c.takeKeys(keyring); err != nil {
		c.weak = append(c.weak, sealedProperty+err.Error())
	}
	return nil
}

// takeClock makes the alarm. A clock that the options give has no timer of the
// system's.
func (c *Cache) takeClock() (err error) {
	if c.now != nil {
		c.alarm = newTimerAlarm(c.now, c.sweep)
		return nil
	}
	c.now, c.real = bootTime, true
	c.exactly()
	c.alarm, err = newAlarm(c.sweep)
	return err
}

// exactly is the time that counts. roughly costs no system call and lags behind by
// what the machine slept since the last exact look: an answer is put together by
// it, and stands only if valid says so by the exact time.
func (c *Cache) exactly() time.Duration {
	now := c.now()
	c.ahead.Store(int64(now - time.Since(c.started)))
	return now
}

func (c *Cache) roughly() time.Duration {
	if !c.real {
		return c.now()
	}
	return time.Since(c.started) + time.Duration(c.ahead.Load())
}

// wipeLocked ends every value, the rack's key and what is being fetched, and with
// them goes every yes.
func (c *Cache) wipeLocked() {
	c.confirm.forgetLocked()
	c.idle.runs = false
	c.dropKeyLocked()
	for root, g := range c.grants {
		c.emptyGrantLocked(g)
		delete(c.grants, root)
	}
	c.scheduleLocked()
}

func (c *Cache) dropKeyLocked() {
	c.releaseLocked(c.key)
	c.key = held{}
}

// emptyGrantLocked wipes the values of g and stops who fetches more of them.
func (c *Cache) emptyGrantLocked(g *grant) {
	for name := range g.values {
		c.dropLocked(g, name)
	}
	if g.flight != nil {
		g.flight.stop()
	}
}

// dropLocked wipes one value of g, if it has it.
func (c *Cache) dropLocked(g *grant, name string) {
	c.takeBackLocked(g, name)
	c.releaseLocked(g.values[name])
	delete(g.values, name)
}

// forget drops the values of one name of one site, wherever it is held.
func (c *Cache) forget(site, name string) error {
	c.mu.Lock()
	for _, g := range c.grants {
		if g.site.Name == site {
			c.dropLocked(g, name)
			delete(g.absent, name)
		}
	}
	shells := c.changeLocked()
	c.scheduleLocked()
	c.mu.Unlock()
	return c.told(shells)
}

// scheduleLocked sets the alarm to the nearest deadline.
func (c *Cache) scheduleLocked() {
	next := c.key.until // 0 for none
	for _, g := range c.grants {
		for _, h := range g.values {
			if next == 0 || h.until < next {
				next = h.until
			}
		}
	}
	if at, idles := c.idle.endLocked(); idles && (next == 0 || at < next) {
		next = at
	}
	if next == 0 {
		c.alarm.unset()
		return
	}
	c.alarm.set(next)
}

// sweep wipes what has ended, or everything where nothing was handed out for too
// long.
func (c *Cache) sweep() {
	if l, err := c.config.read(); err == nil {
		c.limitIdle(l.idle)
	}
	c.lockIfIdle()
	c.mu.Lock()
	now := c.now()
	if !c.key.lives(now) {
		c.dropKeyLocked()
	}
	var shells []shell
	for root, g := range c.grants {
		ended := false
		for name, h := range g.values {
			if !h.lives(now) {
				c.dropLocked(g, name)
				ended = true
			}
		}
		if ended {
			shells = append(shells, c.shellsLocked(root)...)
		}
		if len(g.values) == 0 && g.flight == nil {
			delete(c.grants, root)
		}
	}
	if len(shells) > 0 {
		c.epoch++
		c.word = newWord()
	}
	c.scheduleLocked()
	emptied := c.emptied
	if !c.emptyLocked() {
		emptied = nil
	}
	c.mu.Unlock()
	if len(shells) > 0 {
		c.tell(shells) // there is nobody to hear of an error; without the file shells drop all
	}
	if emptied != nil {
		emptied()
	}
}

// keyNow returns a copy of the rack's key, which the caller frees; ok is false
// where it is not held or has ended.
func (c *Cache) keyNow() (key arena.Block, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.key.lives(c.now()) {
		return arena.Block{}, false, nil
	}
	if key, err = c.arena.Alloc(c.key.block.Len()); err != nil {
		return arena.Block{}, true, err
	}
	defer c.shutLocked()
	if err := c.openLocked(c.key, key.Bytes()); err != nil { // the kernel was first
		c.arena.Free(key)
		c.dropKeyLocked()
		return arena.Block{}, false, nil
	}
	return key, true, nil
}
