package daemon

import "time"

// idle locks the daemon when for so long nothing was handed out. What counts is
// a value that somebody got, and an unlock; asking how things stand does not, nor
// does a request that got nothing. It is guarded by the cache's lock.
type idle struct {
	limit time.Duration // 0 for none
	since time.Duration // when something was handed out last
	runs  bool          // whether anything was, since the last lock
}

// endLocked is when the daemon has been idle for too long, if nobody gets a value
// before.
func (i *idle) endLocked() (at time.Duration, runs bool) {
	return i.since + i.limit, i.runs && i.limit > 0
}

func (i *idle) overLocked(now time.Duration) bool {
	at, runs := i.endLocked()
	return runs && now >= at
}

// limitIdle takes the limit of the person's config for the one in force.
func (c *Cache) limitIdle(limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle.limit != limit {
		c.idle.limit = limit
		c.scheduleLocked()
	}
}

// gaveLocked notes that a value is handed out. The timer stays where it is: when
// it is due too early, it is set anew.
func (c *Cache) gaveLocked(now time.Duration) {
	c.idle.since = now
	if !c.idle.runs {
		c.idle.runs = true
		c.scheduleLocked()
	}
}

// gave is gaveLocked, unless the daemon has been idle for too long already.
func (c *Cache) gave() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.idle.overLocked(now) {
		return false
	}
	c.gaveLocked(now)
	return true
}

// lockIfIdle does what `keyrack lock` does where the time for that has come.
func (c *Cache) lockIfIdle() {
	c.mu.Lock()
	_, idles := c.idle.endLocked()
	over := idles && c.idle.overLocked(c.now())
	c.mu.Unlock()
	if !over {
		return
	}
	_ = c.lockWhere(func(now time.Duration) bool { // it has wiped; a marker that can't be written is for who locks by hand
		over = c.idle.overLocked(now)
		return over
	})
	if over {
		c.lockedBy("idle")
	}
}

// becameEmpty tells who waits for it that nothing is held any more.
func (c *Cache) becameEmpty() {
	c.mu.Lock()
	emptied := c.emptied
	if !c.emptyLocked() {
		emptied = nil
	}
	c.mu.Unlock()
	if emptied != nil {
		emptied()
	}
}
