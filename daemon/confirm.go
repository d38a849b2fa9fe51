package daemon

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"os"
	"slices"
	"strings"
	"time"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// Some secrets are given only with a person's yes. The daemon decides which wait
// for one, and asks nobody: the program that wants them gets a question, shows it
// to the person at its own terminal, and brings the answer. A yes is the word of
// that program; another program of the same user could say it without asking.

// Question is the yes that a worksite's secrets wait for. Always are the names
// that take one each time, Session those whose yes stays until the daemon is
// locked or ends, or the worksite's file changes. Left is how long the question
// stays open. Without names nothing waits.
type Question struct {
	Token   string        `json:"token"`
	Site    string        `json:"site"`
	Always  []string      `json:"always"`
	Session []string      `json:"session"`
	Left    time.Duration `json:"left"`
}

// Names are all that wait.
func (q *Question) Names() []string { return slices.Concat(q.Always, q.Session) }

// questionTime is how long a question stays open, maxQuestions how many are open
// at once, at most one for each process.
const (
	questionTime = 60 * time.Second
	maxQuestions = 512
)

// question is an open question: the process that got it, and what it is about.
type question struct {
	Question
	pid    int
	start  string // of the process pid
	root   string
	want   []string
	has    []string
	only   worksite.Digest
	digest worksite.Digest
	until  time.Duration
	ends   string // the value whose end ends the question, "" where time does
}

// consent is what a person said yes to for one state of a worksite's file.
type consent struct {
	digest worksite.Digest
	names  map[string]bool
}

// assent is the yes that one request brings with it.
type assent struct {
	digest worksite.Digest
	names  []string
}

// confirmations are guarded by the cache's lock. They hold no value.
type confirmations struct {
	open  map[int]*question   // by process
	given map[string]*consent // by the worksite's root
}

// forgetLocked withdraws every question and every yes.
func (cs *confirmations) forgetLocked() { cs.open, cs.given = nil, nil }

// waitsLocked says whether s waits for a yes that neither was given nor is with
// the request.
func (cs *confirmations) waitsLocked(p *plan, s worksite.Secret, with *assent) bool {
	if with != nil && with.digest == p.digest && slices.Contains(with.names, s.Name) {
		return false
	}
	switch s.Confirm {
	case worksite.ConfirmAlways:
		return true
	case worksite.ConfirmSession:
		return !cs.givenLocked(p, s.Name)
	}
	return false
}

// reviseLocked forgets what was said about another state of the file.
func (cs *confirmations) reviseLocked(p *plan) {
	if was := cs.given[p.root]; was != nil && was.digest != p.digest {
		delete(cs.given, p.root)
	}
}

// givenLocked says whether the yes that stays was given for name.
func (cs *confirmations) givenLocked(p *plan, name string) bool {
	was := cs.given[p.root]
	return was != nil && was.digest == p.digest && was.names[name]
}

// confirmed says whether s may be given as far as a person's yes goes. What needs
// one each time never may.
func (c *Cache) confirmed(p *plan, s worksite.Secret) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.confirm.waitsLocked(p, s, nil)
}

// Question is Agent.
func (c *Cache) Question(ctx context.Context, q Query) (*Question, error) {
	return c.question(ctx, q, os.Getpid())
}

// question opens a question for process pid, in place of one that it had, about
// what asked wants of the worksite's secrets and could be given if it were not for the
// yes. It fetches them: who is asked for a yes then has them, or hears first what
// else is missing.
func (c *Cache) question(ctx context.Context, asked Query, pid int) (*Question, error) {
	start, _, err := processStart(pid)
	if err != nil {
		return nil, errEnded
	}
	p, err := c.plan(asked.Root)
	if err == nil {
		p.has, p.watch = asked.Has, asked.watch
		err = asked.check(p)
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.fetch(ctx, p, false); err != nil {
		return nil, ofSite(p.site.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	q := &question{pid: pid, start: start, root: asked.Root, want: asked.Want, only: asked.Only, has: asked.Has, digest: p.digest, until: now + questionTime}
	q.Token, q.Site = rand.Text(), p.site.Name
	for _, s := range p.site.Secrets {
		g := c.grants[asked.Root]
		h, held := g.get(p, s.Name, now)
		own := p.instead(g, s, held) != ""
		if !held && !own || !asked.wants(s) || !c.confirm.waitsLocked(p, s, nil) {
			continue
		}
		if !own && h.until < q.until {
			q.until, q.ends = h.until, s.Name
		}
		if s.Confirm == worksite.ConfirmAlways {
			q.Always = append(q.Always, s.Name)
		} else {
			q.Session = append(q.Session, s.Name)
		}
	}
	q.Left = q.until - now
	if len(q.Names()) == 0 {
		return &Question{Site: q.Site}, nil
	}
	return &q.Question, c.confirm.addLocked(q, now)
}

// addLocked keeps q, and forgets those whose time is over where there are many.
func (cs *confirmations) addLocked(q *question, now time.Duration) error {
	if len(cs.open) >= maxQuestions {
		for pid, old := range cs.open {
			if old.until <= now {
				delete(cs.open, pid)
			}
		}
	}
	if cs.open[q.pid] == nil && len(cs.open) >= maxQuestions {
		return failed("too many questions are open at once")
	}
	if cs.open == nil {
		cs.open = map[int]*question{}
	}
	cs.open[q.pid] = q
	return nil
}

// Answer is Agent.
func (c *Cache) Answer(ctx context.Context, token string, yes bool) (*wire.Grant, error) {
	q, err := c.redeem(token, yes, os.Getpid())
	if err != nil {
		return refusal(err), nil
	}
	return c.Grant(ctx, q)
}

// refusal is the grant that gives nothing, for the reason err.
func refusal(err error) *wire.Grant {
	a := &answer{Grant: wire.Grant{Status: wire.OK}}
	a.refuse(err)
	return &a.Grant
}

// redeem closes the question of process pid and returns what its answer allows.
// The token is good once, for the process that got it, while the question is
// open, nothing was locked meanwhile and the worksite's file is as it was.
func (c *Cache) redeem(token string, said bool, pid int) (Query, error) {
	q := c.asked(token, pid)
	switch {
	case q == nil && c.isLocked():
		return Query{}, errLocked()
	case q == nil:
		return Query{}, errClosed("")
	}
	p, err := c.plan(q.root)
	if err == nil && p.digest != q.digest {
		err = errChanged(q.Site)
	}
	c.mu.Lock()
	still := c.confirm.open[pid] == q
	if still {
		delete(c.confirm.open, pid)
	}
	now := c.now()
	var shells []shell
	switch {
	case err != nil:
	case !still:
		err = errClosed(q.Site)
	case now >= q.until:
		err = q.over()
	case !said:
		err = notAllowed(q.Site, "no yes for "+strings.Join(q.Names(), ", "))
	case len(q.Session) > 0:
		c.confirm.giveLocked(q)
		shells = c.changeLocked()
	}
	c.mu.Unlock()
	if err != nil {
		return Query{}, err
	}
	if len(q.Session) > 0 {
		_ = c.tell(shells) // without the file, shells take everything as changed
	}
	return Query{Root: q.root, Want: q.want, Only: q.only, Has: q.has, with: &assent{q.digest, q.Names()}}, nil
}

// asked is the open question of process pid if token is its token.
func (c *Cache) asked(token string, pid int) *question {
	start, _, err := processStart(pid)
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.confirm.open[pid]
	if q == nil {
		return nil
	}
	if err != nil || q.start != start || subtle.ConstantTimeCompare([]byte(q.Token), []byte(token)) != 1 {
		delete(c.confirm.open, pid)
		return nil
	}
	return q
}

// giveLocked notes the yes that stays.
func (cs *confirmations) giveLocked(q *question) {
	was := cs.given[q.root]
	if was == nil || was.digest != q.digest {
		was = &consent{q.digest, map[string]bool{}}
	}
	for _, name := range q.Session {
		was.names[name] = true
	}
	if cs.given == nil {
		cs.given = map[string]*consent{}
	}
	cs.given[q.root] = was
}

// withdraw takes back what was said yes to for worksites that are denied now.
func (c *Cache) withdraw() {
	c.mu.Lock()
	var roots []string
	for root := range c.confirm.given {
		roots = append(roots, root)
	}
	c.mu.Unlock()
	for _, root := range roots {
		if c.store.Denied(root) {
			c.mu.Lock()
			delete(c.confirm.given, root)
			c.mu.Unlock()
		}
	}
}

func notAllowed(site, text string) error {
	if site != "" {
		text = site + ": " + text
	}
	return &wire.Error{Status: wire.NotAllowed, Message: text}
}

func errClosed(site string) error { return notAllowed(site, "the question is no longer open") }

func errChanged(site string) error {
	return notAllowed(site, worksite.FileName+" changed while the question was open")
}

// over says why it is too late for an answer.
func (q *question) over() error {
	if q.ends != "" {
		return notAllowed(q.Site, q.ends+" ended while the question was open")
	}
	return notAllowed(q.Site, "no answer within "+span(questionTime))
}

// wait holds back what waits for a yes: from the hook, which asks nobody, those alone;
// from a program that can ask, everything until it has asked.
func (a *answer) wait(site string, names []string, hook bool) {
	if len(names) == 0 {
		return
	}
	a.waiting = true
	verb := " waits"
	if len(names) > 1 {
		verb = " wait"
	}
	text := site + ": " + strings.Join(names, ", ") + verb + " for your yes"
	if hook {
		a.Lines = append(a.Lines, text+": keyrack exec -- COMMAND")
		return
	}
	a.vars, a.names = nil, nil
	a.refuse(&wire.Error{Status: wire.Unconfirmed, Message: text})
}

// The server's end.

// question answers the verb of that name.
func (s *server) question(ctx context.Context, conn *connection, from *peer, asked Query) {
	asked.watch = conn.watch
	q, err := s.cache.question(ctx, asked, from.pid)
	answer, err := asJSON(q, err)
	if err == nil {
		err = from.same()
	}
	if err != nil {
		s.write(conn, asError(err).Fields())
		return
	}
	s.write(conn, append(fields(wire.OK), answer...))
}

// redeem answers the verb answer, as grant is answered.
func (s *server) redeem(ctx context.Context, conn *connection, from *peer, token, word, command string) {
	if word != answerYes && word != answerNo {
		s.write(conn, failed("malformed request").Fields())
		return
	}
	q, err := s.cache.redeem(token, word == answerYes, from.pid)
	if err != nil {
		s.logRefused(from, wire.VerbAnswer, err)
		s.write(conn, refusal(err).Fields())
		return
	}
	q.Command = command
	s.grant(ctx, conn, from, q)
}

// The client's end.

// Question is Agent.
func (c *Client) Question(ctx context.Context, q Query) (*Question, error) {
	return decode[*Question](c.plain(ctx, wire.VerbQuestion, []byte(q.Root), []byte(strings.Join(q.Want, " ")), []byte(digestText(q.Only)), []byte(strings.Join(q.Has, " "))))
}

// Answer is Agent.
func (c *Client) Answer(ctx context.Context, token string, yes bool) (*wire.Grant, error) {
	word := answerNo
	if yes {
		word = answerYes
	}
	answer, err := c.call(ctx, c.named(fields(wire.VerbAnswer, token, word))...)
	if err != nil {
		return nil, err
	}
	grant, err := wire.ParseGrant(answer)
	if err != nil {
		return nil, asError(err)
	}
	grant.TakeOwn()
	return grant, nil
}

// The words of an answer.
const (
	answerYes = "yes"
	answerNo  = "no"
)
