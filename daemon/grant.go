package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"keyrack/daemon/seal"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// ticket is what an answer rests on: nothing changed since epoch, and none of its
// values has ended. given is what the answer gives, for the audit log.
type ticket struct {
	epoch uint64
	until time.Duration // of the value that ends first; 0 for none
	given given
}

// valid says whether an answer may still be given. It is the last word before one
// with values is, and counts as that.
func (c *Cache) valid(t ticket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.exactly()
	ok := t.epoch == c.epoch && (t.until == 0 || now < t.until) && !c.idle.overLocked(now)
	if ok && t.until != 0 {
		c.gaveLocked(now)
	}
	return ok
}

// changedTooFast is said where every try to answer was overtaken by a change.
const changedTooFast = "the secrets change faster than they can be given: try again"

// Grant is Agent.
func (c *Cache) Grant(ctx context.Context, q Query) (*wire.Grant, error) {
	for range 3 {
		f, t := c.prepare(ctx, q)
		fields, err := f.parse()
		c.free(f)
		if err != nil {
			return nil, err
		}
		if !c.valid(t) {
			wire.Wipe(fields)
			continue
		}
		grant, err := wire.ParseGrant(fields)
		if err != nil {
			return nil, asError(err)
		}
		grant.TakeOwn()
		return grant, nil
	}
	return nil, failed(changedTooFast)
}

// prepare makes the answer to q, which the caller frees. It stands only as long as
// the ticket is valid. It is empty where q is content with what is held, and that is
// not all.
func (c *Cache) prepare(ctx context.Context, q Query) (frame, ticket) {
	c.mu.Lock()
	t := ticket{epoch: c.epoch}
	a := &answer{Grant: wire.Grant{Status: wire.OK, Generation: c.word}}
	c.mu.Unlock()
	p, err := c.plan(q.Root)
	t.given.of(p)
	if p != nil {
		a.Mode = p.site.Export
		if q.Shell != 0 {
			a.Commands = commands(p.site.Secrets)
		}
	}
	if err == nil {
		p.has, p.watch = q.Has, q.watch
		err = q.check(p)
	}
	if err != nil {
		a.refuse(err)
		t.given.status = a.Status
		return a.frame(), t
	}
	c.listen(q, a.Mode)
	now := c.roughly()
	var problems map[string]error
	if !c.holdsAll(p, now) {
		if q.held {
			return frame{}, t
		}
		if problems, err = c.fetch(ctx, p, q.Shell != 0); err != nil {
			a.refuse(ofSite(p.site.Name, err))
		}
		now = c.now()
	}
	f, until, err := c.collect(q, p, a, problems, now)
	if err != nil {
		a.vars, a.names, a.Summary = nil, nil, ""
		a.refuse(ofSite(p.site.Name, err))
		f, until = a.frame(), 0
	}
	t.until, t.given.names, t.given.status = until, a.names, a.Status
	return f, t
}

// answer is a grant while it is put together. Its variables are in vars alone.
// waiting says that something was left out because it waits for a person's yes.
type answer struct {
	wire.Grant
	vars    []variable
	waiting bool
	names   []string // of the secrets whose values it gives
}

// frame is the answer without its variables.
func (a *answer) frame() frame {
	f, err := encode(a.Fields())
	if err != nil {
		f, _ = encode((&wire.Grant{Status: wire.Failed, Lines: []string{asError(err).Message}}).Fields())
	}
	return f
}

// refuse takes err for the answer's status, unless it has one, and says it.
func (a *answer) refuse(err error) {
	e := asError(err)
	if a.Status == wire.OK {
		a.Status = e.Status
	}
	for _, line := range []string{e.Message, e.Hint} {
		if line != "" && !slices.Contains(a.Lines, line) {
			a.Lines = append(a.Lines, line)
		}
	}
}

// collect encodes the answer with the values that are held, and what stands for
// those that are not: a default, nothing, or the reason. until is the moment when
// the first value ends.
func (c *Cache) collect(q Query, p *plan, a *answer, problems map[string]error, now time.Duration) (f frame, until time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.grants[p.root]
	a.vars, a.names = make([]variable, 0, len(p.site.Secrets)), make([]string, 0, len(p.site.Secrets))
	var waiting []string
	c.confirm.reviseLocked(p)
	for _, s := range p.site.Secrets {
		h, ok := g.get(p, s.Name, now)
		instead := p.instead(g, s, ok)
		switch {
		case !q.wants(s): // nor is it said where it is missing
		case (ok || instead != "") && c.confirm.waitsLocked(p, s, q.with):
			waiting = append(waiting, s.Name)
		case instead != "":
			a.vars = append(a.vars, named(s, instead))
			a.names = append(a.names, s.Name)
		case ok:
			v := variable{name: s.Variable(), held: h}
			if q.lends(s) {
				if v, err = c.lendLocked(g, s, v, q.by); errors.Is(err, seal.ErrEnded) {
					c.endedLocked(g)
					return frame{}, 0, failed(changedTooFast)
				}
				if err != nil {
					a.refuse(ofSite(p.site.Name, err))
					continue
				}
			}
			a.vars = append(a.vars, v)
			a.names = append(a.names, s.Name)
			if until == 0 || h.until < until {
				until = h.until
			}
		case problems[s.Name] != nil:
			absent(a, p, s, problems[s.Name])
			if q.lends(s) && s.Default != nil {
				last := &a.vars[len(a.vars)-1]
				if *last, err = c.lendLocked(g, s, *last, q.by); err != nil {
					a.refuse(ofSite(p.site.Name, err))
				}
			}
		case a.Status == wire.OK: // it ended between fetch and now
			a.refuse(failed(changedTooFast))
		}
	}
	a.wait(p.site.Name, waiting, q.Shell != 0)
	if len(a.vars) == 0 {
		until = 0
	}
	if a.Status == wire.OK && !p.limits.quiet && (len(a.vars) > 0 || !a.waiting) {
		a.Summary = summary(p.site.Name, len(a.vars), until-now)
		if a.Commands != "" {
			a.Summary += ", others for " + strings.ReplaceAll(a.Commands, " ", ", ")
		}
	}
	f, err = c.encodeLocked(append([][]byte{[]byte(wire.Version)}, a.Fields()...), a.vars)
	if errors.Is(err, seal.ErrEnded) {
		c.endedLocked(g)
		err = failed(changedTooFast)
	}
	return f, until, err
}

// endedLocked wipes the values of g, whose key the kernel has ended already: its
// clock was set. The answer in preparation is made anew.
func (c *Cache) endedLocked(g *grant) {
	for name := range g.values {
		c.dropLocked(g, name)
	}
	c.epoch++
	c.scheduleLocked()
}

// commands names those that have secrets of their own: the first words of what is in
// for, sorted. What is a path is for keyrack exec.
func commands(secrets []worksite.Secret) string {
	var names []string
	for _, s := range secrets {
		for _, prefix := range s.For {
			name := strings.Fields(prefix)[0]
			if strings.Trim(name, commandLetters) == "" && name[0] != '-' {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

const commandLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-"

// wants says whether what q asks for may have s.
func (q Query) wants(s worksite.Secret) bool {
	return s.For == nil && s.As == worksite.AsEnv && q.Only == worksite.Digest{} || slices.Contains(q.Want, s.Name)
}

// lends says whether a command gets s in a file. A helper hands the value on.
func (q Query) lends(s worksite.Secret) bool {
	return s.As == worksite.AsTmpfile && q.Only == worksite.Digest{}
}

// check refuses what is asked for by another state of the file than the one that p
// stands for.
func (q Query) check(p *plan) error {
	if (q.Only != worksite.Digest{}) && q.Only != p.digest {
		return notAllowed(p.site.Name, worksite.FileName+" changed in this moment: try again")
	}
	return nil
}

// get is the value of name if g holds it for the state of the worksite that p
// stands for, and it has not ended.
func (g *grant) get(p *plan, name string, now time.Duration) (held, bool) {
	if g == nil || g.digest != p.digest {
		return held{}, false
	}
	h, ok := g.values[name]
	return h, ok && h.lives(now)
}

// listen notes which shell wants to hear of changes: one that exports for as long
// as it is inside.
func (c *Cache) listen(q Query, mode string) {
	if q.Shell <= 0 {
		return
	}
	if mode == wire.ModeTree {
		c.register(q.Shell, q.Root)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.shells, q.Shell)
}

// ofSite names the worksite in an error that is about nothing smaller.
func ofSite(site string, err error) error {
	e := *asError(err)
	e.Message = site + ": " + e.Message
	return &e
}

// summary is the one line for entering a worksite.
func summary(site string, n int, left time.Duration) string {
	switch {
	case n == 0:
		return site + ": no secrets"
	case left <= 0: // defaults alone
		return fmt.Sprintf("%s: %s", site, count(n))
	}
	return fmt.Sprintf("%s: %s for %s", site, count(n), span(left))
}

func count(n int) string {
	if n == 1 {
		return "1 secret"
	}
	return fmt.Sprintf("%d secrets", n)
}

// urgeAll sends SIGURG to shells and returns those that are gone.
func urgeAll(shells []shell) (gone []shell) {
	for _, s := range shells {
		if s.pid == os.Getpid() { // a cache in the shell's own process needs no signal
			continue
		}
		if err := urge(s.pid, s.start); err != nil && !errors.Is(err, os.ErrPermission) {
			gone = append(gone, s)
		}
	}
	return gone
}
