package daemon

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"keyrack/daemon/arena"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// plan is what one request may have: an approved worksite, from one read of its
// file, under the user's limits.
type plan struct {
	root   string
	site   *worksite.Site
	digest worksite.Digest
	limits limits
	has    []string // the variables that who asks has
	watch  lookout  // of who asks, nil for none
}

// lookout has left called when a client goes away, until done.
type lookout func(left func()) (done func())

// during is ctx, which also ends when the client does.
func (w lookout) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	if w == nil {
		return ctx, cancel
	}
	done := w(cancel)
	return ctx, func() { done(); cancel() }
}

// plan reads and checks the worksite at root. Where the file can be read but may
// not be used, it returns both the plan and the reason. What was denied is denied
// whatever else is wrong with it; what no approval would mend is said before an
// approval is asked for.
func (c *Cache) plan(root string) (*plan, error) {
	if !strings.HasPrefix(root, "/") {
		return nil, &wire.Error{Status: wire.Invalid, Message: "the worksite's directory has no absolute path"}
	}
	site, unapproved, err := c.review(root)
	if err != nil && c.store.Denied(root) {
		return nil, errDenied
	}
	if err != nil {
		return nil, &wire.Error{Status: wire.Invalid, Message: err.Error()}
	}
	p := &plan{root: root, site: site, digest: site.Digest}
	if errors.Is(unapproved, errDenied) {
		return p, unapproved
	}
	if err := site.Unbuilt(); err != nil {
		return p, &wire.Error{Status: wire.Invalid, Message: err.Error()}
	}
	if p.limits, err = c.limits(); err != nil {
		return p, err
	}
	if err := p.checkTTL(); err != nil {
		return p, err
	}
	if unapproved != nil {
		return p, unapproved
	}
	if c.isLocked() {
		return p, ofSite(site.Name, errLocked())
	}
	return p, nil
}

// flight is one look into the rack that everybody who needs it waits for.
type flight struct {
	done     chan struct{}
	stale    bool             // overtaken by a change: look again
	problems map[string]error // why a name has no value
	err      error            // why there is nothing of the rack's at all
	stop     func()           // ends it early
	waiting  int              // who waits for it

	racks  int           // looks into the rack that are under way
	tired  bool          // the time that shells wait is over
	enough chan struct{} // closed when they wait no longer
	left   int           // how often that was
	again  bool          // the second time runs
}

// fetched is a value on its way from the rack to the grant that holds it.
type fetched struct {
	name  string
	block arena.Block
	until time.Duration // the end that its source gives it, 0 for none
	from  string        // the source, as the worksite's file names it
}

// fetch sees to it that what p asks for is held, and returns why what is not is
// not: by name, or all of it. A shell does not wait for long.
func (c *Cache) fetch(ctx context.Context, p *plan, shell bool) (map[string]error, error) {
	for try := range 3 {
		f, enough := c.board(p, shell)
		if f == nil {
			return c.known(p), nil
		}
		if try == 0 { // most requests need no fetch, and so no watch
			var end func()
			ctx, end = p.watch.during(ctx)
			defer end()
		}
		select {
		case <-f.done:
			if !c.leave(f, false) {
				return f.problems, f.err
			}
		case <-enough:
			c.leave(f, false)
			return c.early(p, f, enough)
		case <-ctx.Done():
			c.leave(f, true)
			return nil, &wire.Error{Status: wire.Unavailable, Message: "gave up: " + ctx.Err().Error()}
		}
	}
	return nil, failed(changedTooFast)
}

// leave is for who waited for f, and says whether it is stale. Where the last one
// gave up, f ends with all that it started.
func (c *Cache) leave(f *flight, gaveUp bool) (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; gaveUp && f.waiting == 0 {
		f.stale = true // what it did not find because of that is nothing to remember
		f.stop()
	}
	return f.stale
}

// board joins the flight for p's worksite, starting one where something is
// needed; nil means that nothing is. enough ends the wait of a shell.
func (c *Cache) board(p *plan, shell bool) (f *flight, enough <-chan struct{}) {
	at := c.rackStamp()
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.grants[p.root]
	if g != nil && g.digest != p.digest {
		c.emptyGrantLocked(g)
		g = nil
	}
	if g == nil {
		g = &grant{digest: p.digest, site: p.site, values: map[string]held{}, from: map[string]string{}, absent: map[string]error{}, again: map[string]time.Duration{}, logins: map[string]string{}}
		c.grants[p.root] = g
	}
	if g.flight != nil {
		g.flight.waiting++
		return g.flight, c.enoughLocked(g.flight, shell)
	}
	var wants []want
	now := c.now()
	for _, s := range p.site.Secrets {
		_, ok := g.get(p, s.Name, now)
		if !ok && !p.needless(s) && !g.knownLocked(s, at, now, shell) {
			wants = append(wants, want{name: s.Name, from: sources(s)})
		}
	}
	if len(wants) == 0 {
		return nil, nil
	}
	ctx, stop := context.WithTimeout(c.life, fetchTime)
	f = &flight{done: make(chan struct{}), enough: make(chan struct{}), problems: map[string]error{}, stop: stop, waiting: 1}
	g.flight = f
	epoch := c.epoch
	for _, w := range wants {
		delete(g.absent, w.name)
	}
	g.stamp = at
	c.flights.Go(func() {
		defer stop()
		c.fly(ctx, p, g, f, wants, epoch)
	})
	return f, c.enoughLocked(f, shell)
}

// holdsAll says whether everything that p asks for is held, which spares a fetch
// and its look at the rack's file.
func (c *Cache) holdsAll(p *plan, now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.grants[p.root]
	for _, s := range p.site.Secrets {
		if _, ok := g.get(p, s.Name, now); !ok && !p.needless(s) {
			return false
		}
	}
	return g != nil
}

// known is why the names that are known to be absent have no value.
func (c *Cache) known(p *plan) map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.grants[p.root]; g != nil && g.digest == p.digest {
		return maps.Clone(g.absent)
	}
	return nil
}

// fly asks the sources of wants and holds what they have.
func (c *Cache) fly(ctx context.Context, p *plan, g *grant, f *flight, wants []want, epoch uint64) {
	defer close(f.done)
	if slices.ContainsFunc(p.site.Secrets, usesTools) {
		defer time.AfterFunc(patience, func() { c.tire(f) }).Stop()
	}
	c.gather(ctx, p, f, wants, func(l landing) { c.land(p, g, f, epoch, l) })
	c.mu.Lock()
	g.flight = nil
	var shells []shell
	missed := f.left > 0 && !f.stale // somebody went without what is there now
	if missed {
		shells = c.changeLocked()
	}
	if f.err != nil && len(g.absent) == 0 {
		c.dropEmptyLocked(p.root, g)
	}
	c.mu.Unlock()
	if missed {
		c.told(shells) // who asks again gets it anyway
	}
}

// look reads names of site from the rack. A panic in there is an error like any
// other, without its text. The caller frees the values, also with an error.
func (c *Cache) look(ctx context.Context, site string, names []string) (values []fetched, err error) {
	defer func() {
		if recover() != nil {
			err = failed("the rack failed at " + panicPlace())
		}
	}()
	err = c.use(ctx, func(ctx context.Context, key []byte) error {
		return c.opener.Read(ctx, key, site, names, func(name string, size int, until time.Duration) ([]byte, error) {
			block, err := c.arena.Alloc(size)
			if err != nil {
				return nil, full(err)
			}
			values = append(values, fetched{name: name, block: block, until: until})
			return block.Bytes(), nil
		})
	})
	return values, err
}

func isNoRack(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Status == wire.NoRack
}

// holdLocked has g hold v for its ttl, or until its source ends it where that is
// sooner.
func (c *Cache) holdLocked(p *plan, g *grant, v fetched) error {
	i := slices.IndexFunc(p.site.Secrets, func(s worksite.Secret) bool { return s.Name == v.name })
	if i < 0 {
		return errAbsent
	}
	nul := bytes.IndexByte(v.block.Bytes(), 0) >= 0
	arena.Forget()
	if nul {
		return &wire.Error{Status: wire.Invalid, Message: v.name + " holds a NUL byte, which no environment variable can"}
	}
	now := c.now()
	until := now + p.ttl(p.site.Secrets[i])
	if v.until != 0 {
		until = min(until, v.until)
	}
	if until <= now {
		return failed(v.name + " has ended at its source")
	}
	h, err := c.keepLocked(v.block, until, p.limits.strict)
	if err != nil {
		return err
	}
	c.dropLocked(g, v.name)
	g.values[v.name] = h
	return nil
}

// dropEmptyLocked forgets a grant that holds nothing.
func (c *Cache) dropEmptyLocked(root string, g *grant) {
	if len(g.values) == 0 && c.grants[root] == g {
		delete(c.grants, root)
	}
}

// absent answers for a secret that the rack doesn't have.
func absent(a *answer, p *plan, s worksite.Secret, problem error) {
	switch {
	case s.Default != nil:
		a.vars = append(a.vars, variable{name: s.Variable(), plain: []byte(*s.Default)})
	case !s.Required:
	case problem == errAbsent:
		a.refuse(missing(p.site.Name, s.Name))
	default:
		a.refuse(ofSite(p.site.Name, problem))
	}
}
