package daemon

import (
	"time"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// readSite reads the file of the worksite at root. One that is held is not parsed
// again while its bytes are the same.
func (c *Cache) readSite(root string) (*worksite.Site, error) {
	c.mu.Lock()
	g := c.grants[root]
	c.mu.Unlock()
	if g != nil {
		return g.site.Reread()
	}
	return worksite.Read(root)
}

var errDenied = &wire.Error{Status: wire.NotAllowed, Message: "denied", Hint: "keyrack allow"}

// approved says whether the person has approved the site as it was read.
func (c *Cache) approved(site *worksite.Site) error {
	switch c.store.Check(site) {
	case worksite.Allowed:
		return nil
	case worksite.Denied:
		return errDenied
	}
	return &wire.Error{Status: wire.NotAllowed, Message: site.Name + ": not allowed", Hint: "keyrack allow"}
}

// ttl is how long a value of s may be held.
func (p *plan) ttl(s worksite.Secret) time.Duration {
	switch {
	case s.TTL > 0:
		return s.TTL
	case p.site.TTL > 0:
		return p.site.TTL
	}
	return min(DefaultTTL, p.limits.maxTTL)
}

// checkTTL refuses a ttl over the user's limit.
func (p *plan) checkTTL() error {
	if err := p.site.CheckTTL(p.limits.maxTTL); err != nil {
		return &wire.Error{Status: wire.Invalid, Message: err.Error()}
	}
	return nil
}

func sourceName(worksite.Secret) string { return "rack" }
