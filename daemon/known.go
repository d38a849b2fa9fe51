package daemon

import (
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

// meet fills in what is known of p, whose program was looked at just now. That p
// started the same program anew, perhaps under another name, can't be seen.
func (a *acquaintances) meet(p *peer) {
	id, ok := p.handle.identity()
	if !ok || p.program == (program{}) {
		p.session = wire.SessionOf(p.pid)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.of[id]
	if k == nil || k.program != p.program {
		pid := p.pid
		k = &known{program: p.program, session: wire.SessionOf(pid), process: sync.OnceValue(func() audit.Process { return audit.Look(pid) })}
		if a.of == nil || len(a.of) >= maxKnown {
			a.of = map[identity]*known{}
		}
		a.of[id] = k
	}
	p.known, p.session = k, k.session
}
