package daemon

import (
	"time"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// review reads the file of the worksite at root, and says why it is not approved.
// Of one that is held the last word counts for as long as it stands.
func (c *Cache) review(root string) (site *worksite.Site, unapproved error, err error) {
	c.mu.Lock()
	g := c.grants[root]
	var word worksite.Word
	if g != nil {
		site, word = g.site, g.word
	}
	c.mu.Unlock()
	if !word.Stands() {
		site, word, err = c.store.Review(root, site)
		if err != nil {
			return nil, nil, err
		}
		c.mu.Lock()
		if g != nil && g.site == site {
			g.word = word
		}
		c.mu.Unlock()
	}
	switch word.Approval {
	case worksite.Allowed:
		return site, nil, nil
	case worksite.Denied:
		return site, errDenied, nil
	}
	return site, &wire.Error{Status: wire.NotAllowed, Message: site.Name + ": not allowed", Hint: "keyrack allow"}, nil
}

var errDenied = &wire.Error{Status: wire.NotAllowed, Message: "denied", Hint: "keyrack allow"}

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
