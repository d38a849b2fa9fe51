package daemon

import (
	"context"
	"os"
	"time"

	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
)

// What is given, and what changes what may be given, leaves a line in the audit
// log: before the answer is sent, and without waiting for the disk. Names of
// secrets and worksites get into it only where the rack or a worksite's file has
// them: what a client mixed up may be a value.

// Audit is how the log stands: its file, how many lines this daemon could not
// write, and why not, "" where it can.
type Audit struct {
	File    string `json:"file"`
	Dropped uint64 `json:"dropped"`
	Problem string `json:"problem"`
}

// flushTime is how long `status` waits until the log is written.
const flushTime = 200 * time.Millisecond

// auditState writes what waits and tells how the log stands.
func (c *Cache) auditState(ctx context.Context) Audit {
	if c.audit == nil {
		return Audit{}
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	_ = c.audit.Flush(ctx) // a disk that hangs is told by what is dropped
	a := Audit{File: audit.Path(c.auditDir)}
	dropped, err := c.audit.Health()
	a.Dropped = dropped
	if err != nil {
		a.Problem = err.Error()
	}
	return a
}

// itself logs what the daemon does by itself.
func (c *Cache) itself(event, cause string) {
	c.audit.Add(audit.Entry{Event: event, Cause: cause, Process: audit.Process{PID: os.Getpid(), UID: os.Geteuid()}})
}

// lockedBy logs that something other than `keyrack lock` locked the daemon.
func (c *Cache) lockedBy(why string) { c.itself(audit.Lock, why) }

// auditWeak is what strict needs to know of the log.
func (c *Cache) auditWeak() []string {
	if _, err := c.audit.Health(); err != nil {
		return []string{"an audit log: " + err.Error()}
	}
	return nil
}

// events are the verbs that leave a line, besides hook, grant and answer.
var events = map[string]string{
	wire.VerbGet: audit.Get, wire.VerbSet: audit.Set, wire.VerbRemove: audit.Remove,
	wire.VerbLock: audit.Lock, wire.VerbUnlock: audit.Unlock,
}

// who tells the log who asks: for a shell that a client asked for, the shell.
func (s *server) who(from *peer, q Query) audit.Process {
	if s.cache.audit == nil {
		return audit.Process{}
	}
	p := s.caller(from, q.Shell)
	p.Session = from.session
	return p
}

func (s *server) caller(from *peer, shell int) audit.Process {
	switch {
	case shell <= 0:
		return audit.Look(from.pid).WithParent()
	case shell == from.pid && from.known != nil:
		return from.known.process()
	case shell == from.pid:
		dev, ino := from.program.file()
		return s.peers.Look(from.pid, dev, ino)
	}
	client := audit.Look(from.pid)
	if !client.Below(shell) {
		return client.WithParent() // it named a shell that has not started it
	}
	dev, ino := programOf(shell).file()
	p := s.peers.Look(shell, dev, ino)
	p.Client = from.pid
	return p
}

// commandName says whether text is the plain name of a command. What a client
// sends in its place may be anything.
func commandName(text string) bool {
	for _, c := range text {
		if c <= ' ' || c > '~' || c == '=' || c == '/' {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// logRequest logs a request that was answered by err, nil for ok.
func (s *server) logRequest(from *peer, verb string, args [][]byte, err error) {
	event, ok := events[verb]
	if !ok || s.cache.audit == nil {
		return
	}
	e := audit.Entry{Event: event, Process: s.who(from, Query{})}
	if err != nil {
		e.Event, e.Verb, e.Status = audit.Refused, verb, asError(err).Status
	} else if len(args) >= 2 && event != audit.Unlock {
		e.Site, e.Names = string(args[0]), []string{string(args[1])}
	}
	s.cache.audit.Add(e)
}

// logGrant logs the grant that is about to be sent: what is given, or else why
// nothing is. One that waits for a person's yes is not over yet.
func (s *server) logGrant(who audit.Process, q Query, g given) {
	e := audit.Entry{Event: audit.Grant, Site: g.site, Root: g.root, Names: g.names, Process: who}
	if q.with != nil {
		e.Cause = "confirmed"
	}
	if g.site != "" && commandName(q.Command) {
		e.Command = q.Command
	}
	switch {
	case len(g.names) > 0 && g.status != wire.OK:
		e.Status = g.status
	case len(g.names) > 0:
	case g.status == wire.OK, g.status == wire.Unconfirmed:
		return
	default:
		e.Event, e.Verb, e.Status = audit.Refused, wire.VerbGrant, g.status
	}
	s.cache.audit.Add(e)
}

// logRefused logs that a grant was refused before it was made.
func (s *server) logRefused(from *peer, verb string, err error) {
	if s.cache.audit != nil {
		s.cache.audit.Add(audit.Entry{Event: audit.Refused, Verb: verb, Status: asError(err).Status, Process: s.who(from, Query{})})
	}
}

// given is what a grant gives, by the names of the secrets. site and root are ""
// where there is no worksite that can be read.
type given struct {
	status string
	site   string
	root   string
	names  []string
}

// of is what is given of the worksite of p, so far nothing.
func (g *given) of(p *plan) {
	if p != nil {
		g.site, g.root = p.site.Name, p.root
	}
}
