package daemon

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

const (
	// patience is how long shells wait for tools, which may ask a network or hang: on
	// the way to a prompt, so that it is there within half a second, and patienceAgain
	// at the next command line, once more and within what the client waits. After that
	// they wait no more for what is still under way.
	patience      = 400 * time.Millisecond
	patienceAgain = 1200 * time.Millisecond

	// atOnce is how many processes of one tool run at the same time: gpg's agent fails
	// of too many.
	atOnce = 8

	// askAgain is how long a shell goes without a value that a tool did not have. A
	// command asks each time.
	askAgain = 10 * time.Second
)

// want is one secret and the sources that it has not been looked for in yet. tried
// is why the others had none, down that not all of them were sure.
type want struct {
	name  string
	from  []worksite.Source
	tried []string
	down  bool
	login string
}

// landing is what one store brought. err is of the rack as a whole.
type landing struct {
	values   []fetched
	problems map[string]error
	logins   map[string]string // the commands that may help
	err      error
}

// sources are those of s, in the order to try.
func sources(s worksite.Secret) (from []worksite.Source) {
	for _, text := range s.From {
		parsed, _ := worksite.ParseSource(text) // it was checked when the file was read
		from = append(from, parsed)
	}
	return from
}

func usesTools(s worksite.Secret) bool {
	return slices.ContainsFunc(s.From, func(from string) bool { return from != "" })
}

func usesRack(s worksite.Secret) bool { return slices.Contains(s.From, "") }

// sourceName says where s comes from: which source answered, or else all of them.
func (c *Cache) sourceName(p *plan, s worksite.Secret) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	words := s.From
	if g := c.grants[p.root]; g != nil {
		if _, held := g.get(p, s.Name, c.now()); held {
			words = []string{g.from[s.Name]}
		}
	}
	var names []string
	for _, from := range words {
		names = append(names, worksite.SourceWords(from))
	}
	return strings.Join(names, ", else ")
}

// toolState says of a secret that is not held, and that tools may have, how it stands,
// and which command logs in where that may help.
func (c *Cache) toolState(p *plan, s worksite.Secret) (state, login string, problem error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.grants[p.root]; g != nil && g.digest == p.digest && g.absent[s.Name] != nil {
		return StateMissing, g.logins[s.Name], g.absent[s.Name]
	}
	return StateUnasked, "", nil
}

// tools asks the sources other than the rack.
func (c *Cache) tools() source.Tools {
	return source.Tools{
		Reader: source.Opener{Program: Self(), Environ: childEnvironment()},
		Runner: c.runner, Arena: c.arena, Environ: wire.CleanEnvironment(os.Environ()),
	}
}

// knownLocked says whether there is no use in asking again for what s has not been
// found for: of the rack where its file is the same, of tools for a while, and then
// only for a shell, whose every line would ask.
func (g *grant) knownLocked(s worksite.Secret, at stamp, now time.Duration, shell bool) bool {
	return g.absent[s.Name] != nil &&
		(!usesRack(s) || g.stamp == at) &&
		(!usesTools(s) || shell && now < g.again[s.Name])
}

// gather asks for each of wants the next of its sources, all stores at the same
// time, and hands over what each brought as soon as it is there. What a store does
// not have goes on to the next source of its own.
func (c *Cache) gather(ctx context.Context, p *plan, f *flight, wants []want, land func(landing)) {
	var fromRack, fromTools []want
	var asked []worksite.Source
	for _, w := range wants {
		if w.from[0] == (worksite.Source{}) {
			fromRack = append(fromRack, w)
			continue
		}
		fromTools, asked = append(fromTools, w), append(asked, w.from[0])
	}
	var stores sync.WaitGroup
	if len(fromRack) > 0 {
		c.rackAsked(f, 1)
		stores.Go(func() {
			l, next := c.askRack(ctx, p, fromRack)
			land(l)
			c.rackAsked(f, -1)
			c.gather(ctx, p, f, next, land)
		})
	}
	slots := map[string]chan struct{}{}
	for _, batch := range source.Batches(asked) {
		slot := slots[asked[batch[0]].Scheme]
		if slot == nil {
			slot = make(chan struct{}, atOnce)
			slots[asked[batch[0]].Scheme] = slot
		}
		stores.Go(func() {
			var of []want
			for _, i := range batch {
				of = append(of, fromTools[i])
			}
			slot <- struct{}{} // each is given back in a bounded time
			l, next := c.askTool(ctx, p, of)
			<-slot
			land(l)
			c.gather(ctx, p, f, next, land)
		})
	}
	stores.Wait()
}

// pass notes that w's source had nothing, and says whether there is another one.
func (w *want) pass(why string, down bool) bool {
	w.from, w.tried, w.down = w.from[1:], append(w.tried, why), w.down || down
	return len(w.from) > 0
}

// problem is why w has no value, after its last source.
func (w *want) problem() error {
	e := &wire.Error{Status: wire.Missing, Message: w.name + " is missing: " + strings.Join(w.tried, "; ")}
	if w.down {
		e.Status = wire.Failed // Unavailable is the daemon itself: a shell would ask no more
	}
	return e
}

// askRack looks into the rack. A rack that can't be opened is no end for what has
// another source.
func (c *Cache) askRack(ctx context.Context, p *plan, wants []want) (l landing, next []want) {
	var names []string
	for _, w := range wants {
		names = append(names, w.name)
	}
	values, err := c.look(ctx, p.site.Name, names)
	l = landing{values: values, problems: map[string]error{}}
	for _, w := range wants {
		if slices.ContainsFunc(values, func(v fetched) bool { return v.name == w.name }) {
			continue
		}
		why := errAbsent
		if err != nil {
			why = err
		}
		alone := len(w.tried) == 0
		switch {
		case w.pass("the rack: "+why.Error(), err != nil):
			next = append(next, w)
		case err != nil && !isNoRack(err):
			l.err = err
		case alone: // worded for the rack by who answers
			l.problems[w.name] = why
		default:
			l.problems[w.name] = w.problem()
		}
	}
	return l, next
}

// askTool asks one store. A panic in there is an error like any other, without its
// text.
func (c *Cache) askTool(ctx context.Context, p *plan, wants []want) (l landing, next []want) {
	l.problems, l.logins = map[string]error{}, map[string]string{}
	defer func() {
		if recover() != nil {
			next = nil
			for _, w := range wants {
				l.problems[w.name] = failed("a source failed at " + panicPlace())
			}
		}
	}()
	var batch []worksite.Source
	for _, w := range wants {
		batch = append(batch, w.from[0])
	}
	place := source.Place{Dir: p.root, Home: os.Getenv("HOME"), Identity: p.limits.identity}
	asked := c.now()
	tools := c.tools()
	if batch[0].Argv() != nil {
		tools.Programs = c.store.Programs(p.site)
	}
	for i, got := range tools.Ask(ctx, place, batch) {
		w := wants[i]
		if got.Err == nil {
			var until time.Duration
			if got.Left != 0 {
				until = asked + got.Left
			}
			l.values = append(l.values, fetched{w.name, got.Value, until, w.from[0].String()})
			continue
		}
		w.login = cmp.Or(w.login, got.Err.Login)
		more := w.pass(got.Err.Text, !got.Err.Absent)
		if more && (got.Err.Absent || got.Err.Down) {
			next = append(next, w)
			continue
		}
		l.problems[w.name], l.logins[w.name] = w.problem(), w.login
		if got.Err.Changed {
			l.problems[w.name] = &wire.Error{Status: wire.NotAllowed, Message: w.name + ": " + got.Err.Text, Hint: "keyrack allow"}
		}
	}
	return l, next
}

// land has g hold what a store brought, unless something changed meanwhile.
func (c *Cache) land(p *plan, g *grant, f *flight, epoch uint64, l landing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		for _, v := range l.values {
			c.arena.Free(v.block)
		}
	}()
	if f.stale || c.epoch != epoch || c.grants[p.root] != g {
		f.stale = true
		return
	}
	if l.err != nil {
		f.err = l.err
	}
	defer c.shutLocked()
	for i, v := range l.values {
		why := c.holdLocked(p, g, v)
		switch {
		case why == nil:
			delete(g.from, v.name)
			if v.from != "" { // the rack's, of which there are many, need no entry
				g.from[v.name] = v.from
			}
			l.values[i] = fetched{} // it is the grant's
		case statusOf(why) == wire.Unavailable: // as things are now, whatever its source has
			f.problems[v.name] = why
		default:
			l.problems[v.name] = why
		}
	}
	for name, why := range l.problems {
		g.absent[name], g.again[name], g.logins[name] = c.maskLocked(g, why), c.now()+askAgain, l.logins[name]
		f.problems[name] = g.absent[name]
	}
	c.scheduleLocked()
}

// maskLocked takes the values that g holds out of what a tool said.
func (c *Cache) maskLocked(g *grant, why error) error {
	e, ok := why.(*wire.Error)
	if !ok {
		return why
	}
	text := []byte(e.Message)
	for _, h := range g.values {
		if h.block.Len() < shortest {
			continue
		}
		if err := c.showLocked(h, func(value []byte) { source.Mask(text, value) }); err != nil {
			return failed("what it said can't be looked through for values: " + err.Error())
		}
	}
	return &wire.Error{Status: e.Status, Message: string(text), Hint: e.Hint}
}

// shortest is how long a value is, in bytes, that is looked for in what a tool says.
const shortest = 4

// rackAsked counts the looks into the rack that are under way.
func (c *Cache) rackAsked(f *flight, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.racks += n
	f.tireLocked(false)
}

// tire is called when a shell's patience ends: it waits for the rack alone now.
func (c *Cache) tire(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.tireLocked(true)
}

func (f *flight) tireLocked(over bool) {
	f.tired = f.tired || over
	if !f.tired || f.racks > 0 {
		return
	}
	select {
	case <-f.enough:
	default:
		close(f.enough)
	}
}

// enoughLocked is what ends the wait of a shell, nil for who is none.
func (c *Cache) enoughLocked(f *flight, shell bool) <-chan struct{} {
	if !shell {
		return nil
	}
	if f.left == 1 && !f.again {
		f.again = true
		time.AfterFunc(patienceAgain, func() { c.tire(f) })
	}
	return f.enough
}

// early is what a shell gets that waits no longer: why each value is not there.
func (c *Cache) early(p *plan, f *flight, enough <-chan struct{}) (map[string]error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if enough == f.enough && f.left < 2 {
		if f.left++; f.left == 1 {
			f.tired, f.enough = false, make(chan struct{})
		}
	}
	problems := maps.Clone(f.problems)
	now := c.now()
	for _, s := range p.site.Secrets {
		_, held := c.grants[p.root].get(p, s.Name, now)
		if i := slices.IndexFunc(s.From, func(from string) bool { return from != "" }); !held && i >= 0 && problems[s.Name] == nil {
			problems[s.Name] = &wire.Error{Status: wire.Failed, Message: sources(s)[i].Scheme + " has not answered yet"}
		}
	}
	return problems, f.err
}
