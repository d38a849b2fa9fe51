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

	handle  handle // where it is kept: closed when it is dropped and no peer uses it
	uses    int
	dropped bool
}

// acquaintances remembers processes by what the kernel gives to no other one as long
// as it runs. Where there is no such thing, and where it is nil, it remembers none.
type acquaintances struct {
	mu   sync.Mutex
	of   map[identity]*known
	kept map[int]*known // by pid, those that asked again
}

// Bounds of what is remembered, ended processes included.
const (
	maxKnown = 1024
	maxKept  = 64
)

// recall says whether p.pid is that of a process whose handle is kept, and fills p
// in. If same says at the end that the process lives, then nobody else had the pid
// since it asked before.
func (a *acquaintances) recall(p *peer) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.kept[p.pid]
	if k != nil {
		k.uses++
		p.of(k)
		p.handle, p.kept = k.handle, true
	}
	return k != nil
}

func (p *peer) of(k *known) {
	p.program, p.session, p.known, p.remembered = k.program, k.session, k, true
}

// meet fills in what is known of p. The program that it ran when it asked before
// stands until same finds another one. That p started the same program anew, perhaps
// under another name, can't be seen.
func (a *acquaintances) meet(p *peer) {
	if p.remembered {
		return
	}
	id, numbered := p.handle.identity()
	numbered = numbered && a != nil
	if numbered {
		a.mu.Lock()
		k := a.of[id]
		a.mu.Unlock()
		if k != nil {
			p.of(k)
			return
		}
	}
	p.program, p.session = programOf(p.pid), wire.SessionOf(p.pid)
	if !numbered || p.program == (program{}) {
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

// errForgotten says that p, of whom something was remembered, is not that any more.
// Whether it was when it asked is not known: it gets no answer, which has a client
// ask again.
var errForgotten = errors.New("remembered as another program")

// same is the peer's. It forgets who is not what was remembered, and keeps the handle
// of who is.
func (a *acquaintances) same(p *peer) error {
	err := p.same()
	if !p.remembered {
		return err
	}
	if err == nil && p.kept {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.forgetLocked(p)
		return errForgotten
	}
	if a.kept[p.pid] == nil {
		a.keepLocked(p)
	}
	return nil
}

func (a *acquaintances) keepLocked(p *peer) {
	if len(a.kept) >= maxKept {
		for pid := range a.kept {
			a.dropLocked(pid)
		}
	}
	if a.kept == nil {
		a.kept = map[int]*known{}
	}
	k := *p.known
	k.handle, k.uses = p.handle, 1
	p.known, p.kept = &k, true
	a.kept[p.pid] = p.known
}

func (a *acquaintances) dropLocked(pid int) {
	k := a.kept[pid]
	delete(a.kept, pid)
	if k.dropped = true; k.uses == 0 {
		k.handle.close()
	}
}

// release ends the use of p.
func (a *acquaintances) release(p *peer) {
	if !p.kept {
		p.handle.close()
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.known.uses--; p.known.uses == 0 && p.known.dropped {
		p.known.handle.close()
	}
}

func (a *acquaintances) forgetLocked(p *peer) {
	if id, ok := p.handle.identity(); ok && a.of[id] != nil {
		delete(a.of, id)
	}
	if a.kept[p.pid] != nil && a.kept[p.pid].handle == p.handle {
		a.dropLocked(p.pid)
	}
}
