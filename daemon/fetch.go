package daemon

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

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
}

// plan reads and checks the worksite at root. Where the file can be read but may
// not be used, it returns both the plan and the reason. What was denied is denied
// whatever else is wrong with it; what no approval would mend is said before an
// approval is asked for.
func (c *Cache) plan(root string) (*plan, error) {
	if !strings.HasPrefix(root, "/") {
		return nil, &wire.Error{Status: wire.Invalid, Message: "the worksite's directory has no absolute path"}
	}
	site, err := c.readSite(root)
	if err != nil && c.store.Denied(root) {
		return nil, errDenied
	}
	if err != nil {
		return nil, &wire.Error{Status: wire.Invalid, Message: err.Error()}
	}
	p := &plan{root: root, site: site, digest: site.Digest}
	unapproved := c.approved(site)
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
	err      error            // why there is nothing at all
}

// fetch sees to it that what p asks for is held, and returns why what is not is
// not: by name, or all of it.
func (c *Cache) fetch(ctx context.Context, p *plan) (map[string]error, error) {
	for range 3 {
		f := c.board(p)
		if f == nil {
			return c.known(p), nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, &wire.Error{Status: wire.Unavailable, Message: "gave up: " + ctx.Err().Error()}
		}
		if !f.stale {
			return f.problems, f.err
		}
	}
	return nil, failed(changedTooFast)
}

// board joins the flight for p's worksite, starting one where something is
// needed; nil means that nothing is.
func (c *Cache) board(p *plan) *flight {
	now := c.rackStamp()
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.grants[p.root]
	if g != nil && g.digest != p.digest {
		g.wipe()
		g = nil
	}
	if g == nil {
		g = &grant{digest: p.digest, site: p.site, values: map[string]held{}}
		c.grants[p.root] = g
	}
	if g.flight != nil {
		return g.flight
	}
	var names []string
	for _, s := range p.site.Secrets {
		_, ok := g.get(p, s.Name, c.now())
		if !ok && !(g.absent[s.Name] != nil && g.stamp == now) {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	g.flight = &flight{done: make(chan struct{}), problems: map[string]error{}}
	go c.fly(p, g, g.flight, names, now, c.epoch)
	return g.flight
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

// fly looks into the rack and holds what it finds, unless something changed.
func (c *Cache) fly(p *plan, g *grant, f *flight, names []string, at stamp, epoch uint64) {
	defer close(f.done)
	values, err := c.look(p.site.Name, names)
	c.mu.Lock()
	defer c.mu.Unlock()
	g.flight = nil
	if c.epoch != epoch || c.grants[p.root] != g {
		f.stale = true
		wipeMap(values)
		return
	}
	f.err = err
	if err != nil && !isNoRack(err) {
		c.dropEmptyLocked(p.root, g)
		return
	}
	f.err = nil
	g.stamp, g.absent = at, map[string]error{}
	now := c.now()
	for _, s := range p.site.Secrets {
		if value, ok := values[s.Name]; ok {
			c.holdLocked(g, s.Name, value, now+p.ttl(s))
		} else if _, still := g.values[s.Name]; !still {
			g.absent[s.Name] = errAbsent
			if err != nil {
				g.absent[s.Name] = err
			}
		}
	}
	maps.Copy(f.problems, g.absent)
	c.scheduleLocked()
}

// look reads names of site from the rack. A panic in there is an error like any
// other, without its text.
func (c *Cache) look(site string, names []string) (values map[string][]byte, err error) {
	defer func() {
		if recover() != nil {
			err = failed("the rack failed at " + panicPlace())
		}
	}()
	err = c.use(c.life, func(ctx context.Context, key []byte) error {
		values, err = c.rack.Read(ctx, key, site, names)
		return err
	})
	return values, err
}

func isNoRack(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Status == wire.NoRack
}

func wipeMap(values map[string][]byte) {
	for _, v := range values {
		clear(v)
	}
}

func (c *Cache) holdLocked(g *grant, name string, value []byte, until time.Duration) {
	if old, ok := g.values[name]; ok {
		clear(old.value)
	}
	g.values[name] = held{value: value, until: until}
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
		a.Vars = append(a.Vars, wire.Var{Name: s.Variable(), Value: []byte(*s.Default)})
	case !s.Required:
	case problem == errAbsent:
		a.refuse(missing(p.site.Name, s.Name))
	default:
		a.refuse(ofSite(p.site.Name, problem))
	}
}
