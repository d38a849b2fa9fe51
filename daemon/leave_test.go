package daemon

import (
	"context"
	"strings"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

// A daemon that leaves gives those whose requests it has taken their answer: the
// next one would have to do the work again.
func TestLeavingDaemonAnswersWhatIsInWork(t *testing.T) {
	r := newRig(t, "none", nil)
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	asked, gate := make(chan struct{}, 1), make(chan struct{})
	r.meets(func(context.Context) error { asked <- struct{}{}; <-gate; return nil })
	var grant *wire.Grant
	done := make(chan struct{})
	go func() { defer close(done); grant = r.grant() }()
	<-asked
	r.server.stop()
	await(t, "the daemon to take nobody", func() bool { return !answers(r.place) })
	close(gate)
	<-done
	r.want(grant, wire.OK, "A=1")
}

// What would hold a leaving daemon up is closed without an answer, which has the
// client ask the next one; an error would be the client's.
func TestLeavingDaemonWaitsForNobody(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, r *rig) (ended func() error){
		"a slow source":       askSlowly,
		"who does not listen": askAndLeaveUnread,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "none", nil)
			r.overSocket()
			r.worksite("[secrets]\nA = \"\"\n")
			r.set("A", strings.Repeat("v", 900<<10))
			await(t, "nothing to be in work", func() bool { return r.inWork() == 0 })
			ended := ask(t, r)
			await(t, "the request to be in work", func() bool { return r.inWork() == 1 })
			r.server.stop()
			began := time.Now()
			r.server.clients.Wait()
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the daemon left after %s", took)
			}
			if err := ended(); err != nil {
				wantError(t, err, wire.Unavailable, "went away without an answer")
			}
		})
	}
}

func (r *rig) inWork() int {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return len(r.server.working)
}

func askSlowly(t *testing.T, r *rig) (ended func() error) {
	r.meets(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	result := make(chan error, 1)
	go func() {
		answer, err := wire.Call(r.place, answerTime, nil, []byte(wire.VerbGrant), []byte(r.root))
		if err == nil {
			t.Errorf("answered %q", answer)
		}
		result <- err
	}()
	return func() error { return <-result }
}

func askAndLeaveUnread(t *testing.T, r *rig) (ended func() error) {
	frame, err := wire.Encode(fields(wire.Version, wire.VerbGet, "acme/api", "A")...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialRaw(t, r.place).Write(frame); err != nil {
		t.Fatal(err)
	}
	return func() error { return nil }
}
