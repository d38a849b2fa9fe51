package daemon

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// Status is Agent.
func (c *Cache) Status(ctx context.Context, root string) (*Status, error) {
	kind, err := c.rack.Kind()
	if err != nil {
		return nil, failed(err.Error())
	}
	s := &Status{
		Daemon:      DaemonStatus{PID: os.Getpid(), Version: Version, Started: c.started, Scope: c.place.Scope, Memory: string(c.arena.Kind()), LocksOn: c.locksOn(), Program: c.program, Weak: append(append([]string{}, c.weak...), c.sealWeak()...), Audit: c.auditState(ctx)},
		Locked:      c.isLocked(),
		Rack:        string(kind),
		RackKeyLeft: c.keyLeft(),
		Root:        root,
		Secrets:     []SecretStatus{},
	}
	if root == "" {
		return s, nil
	}
	p, err := c.plan(root)
	s.State = StateOK
	s.blame(err)
	if p == nil {
		return s, nil
	}
	s.Site, s.Export = p.site.Name, p.site.Export
	c.secretStates(ctx, s, p)
	return s, nil
}

// locksOn names what locks the daemon by itself, as things stand.
func (c *Cache) locksOn() []string {
	on := []string{}
	if c.watched.Load() {
		on = append(on, "suspend", "screen lock", "logout")
	}
	if l, err := c.config.read(); err == nil && l.idle > 0 {
		on = append(on, "idle "+span(l.idle))
	}
	return on
}

// blame takes err for the worksite's state, unless it has one.
func (s *Status) blame(err error) {
	if err == nil || s.State != StateOK {
		return
	}
	e := asError(err)
	s.State, s.Why, s.Hint = e.Status, e.Message, e.Hint
	switch {
	case errors.Is(err, errDenied):
		s.State = StateDenied
	case e.Status == wire.NoRack:
		s.State = StateMissing
	}
}

func (c *Cache) keyLeft() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.key.lives(now) {
		return seconds(c.key.until - now)
	}
	return 0
}

// seconds rounds up, so that what is still held never has 0 left.
func seconds(d time.Duration) int64 {
	return int64(max(0, (d+time.Second-1)/time.Second))
}

// secretStates describes each secret of p. What is not held is looked up by name
// alone, and only where the worksite could have it.
func (c *Cache) secretStates(ctx context.Context, s *Status, p *plan) {
	left := c.heldLeft(p)
	var names map[string]bool
	var problem error
	if s.State == StateOK && len(left) < len(p.site.Secrets) && slices.ContainsFunc(p.site.Secrets, usesRack) {
		names, problem = c.namesOf(ctx, p.site.Name)
	}
	for _, secret := range p.site.Secrets {
		out := SecretStatus{Name: secret.Name, Env: secret.Variable(), Source: c.sourceName(p, secret), TTLSeconds: seconds(p.ttl(secret)),
			Confirm: secret.Confirm, Confirmed: c.confirmed(p, secret), For: secret.For, As: secret.As, Variables: secret.Variables()}
		remaining, ok := left[secret.Name]
		switch {
		case ok:
			out.Held, out.LeftSeconds, out.State = true, seconds(remaining), StateHeld
		case usesTools(secret) && !names[secret.Name] && !s.Locked && (s.State == StateOK || s.State == StateMissing):
			var problem error
			out.State, out.Login, problem = c.toolState(p, secret)
			switch {
			case problem != nil && secret.Default != nil:
				out.State = StateDefault
			case problem != nil:
				e := asError(problem)
				out.Why = strings.TrimPrefix(e.Message, secret.Name+" is missing: ")
				if e.Status == wire.Missing && len(out.Variables) > 0 {
					out.State = StateEnvironment
					break
				}
				if e.Status == wire.NotAllowed {
					out.State, out.Why = StateNotAllowed, strings.TrimPrefix(e.Message, secret.Name+": ")
				}
				c.blameMissing(s, secret, &wire.Error{Status: wire.Missing, Message: e.Message, Hint: e.Hint})
			}
		case s.Locked || statusOf(problem) == wire.Locked:
			out.State = StateLocked
			s.blame(problem)
		case names[secret.Name]:
			out.State = StateAvailable
		case s.State != StateOK && s.State != StateMissing:
			out.Why = "the worksite is " + s.State
		case problem != nil && statusOf(problem) != wire.NoRack:
			out.State, out.Why = StateMissing, problem.Error()
			s.blame(problem)
		case secret.Default != nil:
			out.State = StateDefault
		default:
			out.State, out.Why = StateMissing, errAbsent.Error()
			c.blameMissing(s, secret, problem)
		}
		s.Secrets = append(s.Secrets, out)
	}
}

func (c *Cache) blameMissing(s *Status, secret worksite.Secret, problem error) {
	switch {
	case !secret.Required:
	case problem != nil:
		s.blame(ofSite(s.Site, problem))
	default:
		s.blame(missing(s.Site, secret.Name))
	}
}

func statusOf(err error) string {
	if err == nil {
		return wire.OK
	}
	return asError(err).Status
}

// heldLeft is how long each value that is held has left.
func (c *Cache) heldLeft(p *plan) map[string]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := map[string]time.Duration{}
	now := c.now()
	for _, s := range p.site.Secrets {
		if h, ok := c.grants[p.root].get(p, s.Name, now); ok {
			left[s.Name] = h.until - now
		}
	}
	return left
}

// namesOf is the set of names that the rack has for site.
func (c *Cache) namesOf(ctx context.Context, site string) (map[string]bool, error) {
	items, err := c.List(ctx, site)
	names := map[string]bool{}
	for _, item := range items {
		names[item.Name] = true
	}
	return names, err
}
