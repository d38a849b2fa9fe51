package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/audit"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// Cache is the Agent that holds the values. It does no I/O while it holds its
// lock, so a slow source delays only those who need it.
type Cache struct {
	place    wire.Place
	rack     source.Rack
	opener   opener
	runner   *source.Runner
	rackFile string
	store    worksite.Store
	config   *config
	now      func() time.Duration
	real     bool         // it is the system's
	ahead    atomic.Int64 // of the time since started, by now, when it was looked at last
	started  time.Time
	program  string
	weak     []string        // what is not in force that should be
	arena    *arena.Arena    // has every value, the rack's key and the answers that hold one
	alarm    alarm           // due at the nearest deadline, unset when there is none
	life     context.Context // ends with Close
	end      context.CancelFunc
	flights  sync.WaitGroup // what still uses the arena after that

	closing sync.Once
	closed  error

	watched atomic.Bool // logind tells of suspend, screen lock and logout

	publishing sync.Mutex // one writer of the generation file, so that the last word wins
	locking    sync.Mutex // one writer of the marker of `keyrack lock`, for the same reason

	mu      sync.Mutex
	epoch   uint64 // grows whenever an answer in preparation may have become wrong
	word    string // the generation that clients see
	locked  bool
	key     held              // the rack's identity while it is unlocked
	grants  map[string]*grant // by the worksite's root
	confirm confirmations
	idle    idle
	shells  map[int]shell
	sealing sealing
	emptied func()
	lent    map[*lent]struct{} // files of commands that run

	auditDir string
	audit    *audit.Log // nil for none
}

// grant is what is held for one approved state of one worksite.
type grant struct {
	digest worksite.Digest
	site   *worksite.Site
	word   worksite.Word   // the person's, on site
	values map[string]held // by the secret's name
	flight *flight

	// absent says which names no source had, and why, when the rack's file was as
	// stamp says, and again when tools are to be asked again: until then they need no
	// new look.
	absent map[string]error
	stamp  stamp
	again  map[string]time.Duration
	logins map[string]string // the commands that log in

	from map[string]string // which source a value came from
}

// NewCache makes a cache that holds nothing. It is locked if the last one was. It
// takes over the generation file of its place until Close: a place has one cache
// at a time, the daemon's. Of o it leaves Log and Unused alone.
func NewCache(o Options) (*Cache, error) {
	if err := o.Place.Make(); err != nil {
		return nil, err
	}
	c := &Cache{
		place: o.Place, rack: source.Rack{Dir: o.DataDir}, opener: o.opener, runner: o.runner, rackFile: o.DataDir + "/rack.age", store: worksite.Store{Dir: o.DataDir + "/approvals"},
		config: &config{path: o.ConfigFile}, now: o.Now, started: time.Now(), program: o.Program, weak: slices.Clone(o.weak),
		grants: map[string]*grant{}, shells: map[int]shell{},
	}
	if c.opener == nil {
		c.opener = source.Opener{Rack: c.rack, Program: Self(), Environ: childEnvironment()}
	}
	if err := c.takeMemory(o.keyring); err != nil {
		return nil, err
	}
	if err := c.takeClock(); err != nil {
		c.arena.Close()
		return nil, err
	}
	if o.AuditDir != "" {
		c.auditDir, c.audit = o.AuditDir, audit.Open(o.AuditDir)
		c.itself(audit.Start, "")
	}
	c.locked = c.marked()
	_ = os.RemoveAll(filesDir(c.place)) // of a daemon that crashed; what can't be removed is refused when a file is made
	c.life, c.end = context.WithCancel(context.Background())
	c.mu.Lock()
	c.word = newWord()
	c.mu.Unlock()
	return c, c.publish()
}

// Close wipes everything and gives the memory back. Shells that hold values for as
// long as they are inside a worksite are told. No other method is running, nor
// called again.
func (c *Cache) Close() error {
	c.closing.Do(c.close)
	return c.closed
}

func (c *Cache) close() {
	c.end()
	c.mu.Lock()
	c.epoch++
	c.wipeLocked()
	shells := c.shellsLocked("")
	c.mu.Unlock()
	c.flights.Wait()
	c.alarm.close()
	c.arena.Close()
	_ = os.RemoveAll(filesDir(c.place)) // the next daemon tries again
	err := os.Remove(c.place.Generation)
	urgeAll(shells)
	c.itself(audit.Stop, "")
	_ = c.audit.Close() // nobody is there any more to hear what was not written
	if !errors.Is(err, fs.ErrNotExist) {
		c.closed = err
	}
}

// onEmpty has f called, without a lock, whenever a deadline leaves nothing held.
func (c *Cache) onEmpty(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emptied = f
}

func (c *Cache) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.emptyLocked()
}

func (c *Cache) emptyLocked() bool {
	// One that is to lock itself stays until it has.
	if _, idles := c.idle.endLocked(); idles || c.key != (held{}) || len(c.lent) > 0 {
		return false
	}
	for _, g := range c.grants {
		if len(g.values) > 0 || g.flight != nil {
			return false
		}
	}
	return true
}

// marked says whether the marker of `keyrack lock` exists. One that can't be
// looked at counts.
func (c *Cache) marked() bool {
	_, err := os.Lstat(c.place.Locked)
	return !errors.Is(err, fs.ErrNotExist)
}

// Lock is Agent.
func (c *Cache) Lock(context.Context) error {
	return c.lockWhere(func(time.Duration) bool { return true })
}

// lockWhere locks where due says so of the time that it is. It wipes first and
// reports afterwards what went wrong.
func (c *Cache) lockWhere(due func(now time.Duration) bool) error {
	c.locking.Lock()
	defer c.locking.Unlock()
	c.mu.Lock()
	if !due(c.now()) {
		c.mu.Unlock()
		return nil
	}
	c.locked = true
	c.wipeLocked()
	shells := c.changeLocked()
	c.mu.Unlock()
	file, err := os.OpenFile(c.place.Locked, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		err = file.Close()
	}
	if told := c.tell(shells); err == nil {
		err = told
	}
	c.becameEmpty()
	if err != nil {
		return failed("locked, but not for a daemon started later: " + err.Error())
	}
	return nil
}

// Unlock is Agent.
func (c *Cache) Unlock(ctx context.Context, key []byte, ttl time.Duration) error {
	limits, err := c.limits()
	if err != nil {
		return err
	}
	if ttl, err = limits.unlockTTL(ttl); err != nil {
		return err
	}
	if err := c.checkKey(ctx, key); err != nil {
		return err
	}
	own, err := c.keepKey(key, ttl, limits.strict)
	if err != nil {
		return err
	}
	c.locking.Lock()
	defer c.locking.Unlock()
	if err := os.Remove(c.place.Locked); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.releaseLocked(own)
		return failed("unlocking: " + err.Error())
	}
	c.mu.Lock()
	c.locked = false
	c.dropKeyLocked()
	c.key = own
	c.gaveLocked(c.now())
	shells := c.changeLocked()
	c.scheduleLocked()
	c.mu.Unlock()
	return c.told(shells)
}

func errNegativeTTL() error {
	return &wire.Error{Status: wire.Invalid, Message: "a ttl is longer than 0"}
}

// keepKey is a copy of key, held for ttl; none of nil.
func (c *Cache) keepKey(key []byte, ttl time.Duration, strict bool) (held, error) {
	if key == nil {
		return held{}, nil
	}
	own, err := c.arena.Copy(key)
	if err != nil {
		return held{}, full(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.shutLocked()
	h, err := c.keepLocked(own, c.now()+ttl, strict)
	if err != nil {
		c.arena.Free(own)
	}
	return h, err
}

// unlockTTL is how long the rack's key stays. What nobody chose follows the
// user's limit; what somebody chose over it is an error.
func (l limits) unlockTTL(ttl time.Duration) (time.Duration, error) {
	switch {
	case ttl < 0:
		return 0, errNegativeTTL()
	case ttl == 0:
		return min(DefaultTTL, l.maxTTL), nil
	case ttl > l.maxTTL:
		return 0, &wire.Error{Status: wire.Invalid, Message: fmt.Sprintf("a ttl of %s is over max_ttl, %s", span(ttl), span(l.maxTTL))}
	}
	return ttl, nil
}

// Touch is Agent.
func (c *Cache) Touch(context.Context) error {
	c.withdraw()
	c.mu.Lock()
	for _, g := range c.grants { // a command of theirs may be allowed now
		maps.DeleteFunc(g.absent, func(_ string, why error) bool { return statusOf(why) == wire.NotAllowed })
	}
	shells := c.changeLocked()
	c.mu.Unlock()
	return c.told(shells)
}

// isLocked says whether `keyrack lock` is in force. Its marker is for the next
// daemon: this one wrote it.
func (c *Cache) isLocked() bool {
	c.lockIfIdle()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.locked
}
