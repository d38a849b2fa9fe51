package daemon

import (
	"errors"
	"sync"

	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
)

// known is what does not change of a process that runs one program. It is asked
// for once of a process that asks again and again, such as a shell.
type known struct {
	program program
	session string
	process func() audit.Process // looked up when it is first needed
}

// acquaintances remembers processes by what the kernel gives to no other one as long
// as it runs. Where there is no such thing it remembers none.
type acquaintances struct {
	mu sync.Mutex
	of map[identity]*known
}

// maxKnown bounds what is remembered, ended processes included.
const maxKnown = 1024

// meet fills in what is known of p. The program that it ran when it asked before
// stands until same finds another one. That p started the same program anew, perhaps
// under another name, can't be seen.
func (a *acquaintances) meet(p *peer) {
	id, ok := p.handle.identity()
	a.mu.Lock()
	k := a.of[id]
	a.mu.Unlock()
	if ok && k != nil {
		p.program, p.known, p.session, p.remembered = k.program, k, k.session, true
		return
	}
	a.look(p)
}

// look fills in what p is now.
func (a *acquaintances) look(p *peer) {
	p.program, p.session, p.known, p.remembered = programOf(p.pid), wire.SessionOf(p.pid), nil, false
	id, ok := p.handle.identity()
	if !ok || p.program == (program{}) {
		return
	}
	pid := p.pid
	p.known = &known{program: p.program, session: p.session, process: sync.OnceValue(func() audit.Process { return audit.Look(pid) })}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil || len(a.of) >= maxKnown {
		a.of = map[identity]*known{}
	}
	a.of[id] = p.known
}

// errForgotten says that p, of whom a program was remembered, runs another one. Whether
// it did when it asked is not known: it gets no answer, which has a client ask again.
var errForgotten = errors.New("remembered as another program")

// same is the peer's, and forgets who has become another program since it asked before.
func (a *acquaintances) same(p *peer) error {
	err := p.same()
	if err != errAnother || !p.remembered {
		return err
	}
	if id, ok := p.handle.identity(); ok {
		a.mu.Lock()
		delete(a.of, id)
		a.mu.Unlock()
	}
	return errForgotten
}
