package daemon

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyrack/daemon/wire"
)

// idling is a bubble with a daemon that locks itself after 30 minutes.
func idling(t *testing.T, kind string, f func(t *testing.T, r *timed)) {
	inBubble(t, kind, func(t *testing.T, r *timed) {
		r.config("idle = \"30m\"\n")
		r.worksite("[secrets]\nA = \"\"\nB = { default = \"x\" }\n")
		if kind == "passphrase" {
			r.unlock(r.key, 0)
		}
		r.set("A", "1")
		f(t, r)
	})
}

// wait lets time pass, and what is due then happen.
func (r *timed) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *timed) wantLocked(locked bool) {
	r.t.Helper()
	if got := r.cache.marked(); got != locked {
		r.t.Fatalf("locked: %v, want %v", got, locked)
	}
}

func TestIdleLocks(t *testing.T) {
	idling(t, "passphrase", func(t *testing.T, r *timed) {
		r.want(r.grant(), wire.OK, "A=1 B=x")
		value, key, before := r.held("A"), r.heldKey(), r.generation()
		r.wait(30*time.Minute - time.Nanosecond)
		r.wantLocked(false)
		r.wait(time.Nanosecond)
		r.wantLocked(true)
		if !bytes.Equal(value, []byte{0}) || !bytes.Equal(key, make([]byte, len(key))) || r.generation() == before {
			t.Error("a value, the key or the generation is as it was")
		}
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		if !r.cache.empty() {
			t.Error("something is held, or still to come")
		}
		r.unlock(r.key, 0)
		r.want(r.grant(), wire.OK, "A=1 B=x")
	})
}

func TestUseKeepsFromIdling(t *testing.T) {
	idling(t, "none", func(t *testing.T, r *timed) {
		for name, use := range map[string]func(){
			"grant":  func() { r.want(r.grant(), wire.OK, "A=1 B=x") },
			"get":    func() { r.agent.Get(t.Context(), "acme/api", "A") },
			"unlock": func() { r.unlock(nil, 0) },
		} {
			use()
			for range 5 {
				r.wait(20 * time.Minute)
				use()
			}
			r.wait(30*time.Minute - time.Nanosecond)
			if r.cache.marked() {
				t.Errorf("%s: locked too early", name)
			}
			r.wait(time.Nanosecond)
			if !r.cache.marked() {
				t.Errorf("%s: not locked", name)
			}
			r.unlock(nil, 0)
		}
	})
}

// Looking is no use, and a request that gets nothing is none.
func TestAskingKeepsNobodyFromIdling(t *testing.T) {
	idling(t, "none", func(t *testing.T, r *timed) {
		r.want(r.grant(), wire.OK, "A=1 B=x")
		other := r.dir + "/other"
		for i := range 30*60 - 1 {
			time.Sleep(time.Second)
			r.status(r.root)
			if i%60 > 0 { // what follows takes its time
				continue
			}
			if _, err := r.agent.List(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			if _, err := r.agent.Get(t.Context(), "acme/api", "NONE"); err == nil {
				t.Fatal("there is a NONE")
			}
			if g, err := r.agent.Grant(t.Context(), Query{Root: other}); err != nil || g.Status != wire.Invalid {
				t.Fatal("there is an other")
			}
		}
		r.set("C", "3")
		r.wantLocked(false)
		r.wait(time.Second)
		r.wantLocked(true)
	})
}

// The first request after a suspend, or after the process was stopped, comes
// before any timer.
func TestIdleIsLockedBeforeTheAnswer(t *testing.T) {
	idling(t, "none", func(t *testing.T, r *timed) {
		r.want(r.grant(), wire.OK, "A=1 B=x")
		f, ticket := r.cache.prepare(t.Context(), Query{Root: r.root})
		defer r.cache.free(f)
		r.wantFrame(f, wire.OK, "A=1 B=x")
		r.ahead.Store(int64(30 * time.Minute))
		if r.cache.valid(ticket) {
			t.Error("an answer is valid that was prepared before")
		}
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		r.unlock(nil, 0)
		r.want(r.grant(), wire.OK, "A=1 B=x")
		r.ahead.Add(int64(30 * time.Minute))
		_, err := r.agent.Get(t.Context(), "acme/api", "A")
		wantError(t, err, wire.Locked, "locked")
		r.wantLocked(true)
	})
}

// The value ends before the daemon is idle for long enough: it stays until then,
// because a daemon started later would not know that it has to lock.
func TestIdleLocksWhatEndedBefore(t *testing.T) {
	idling(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = { ttl = \"1m\" }\n")
		var emptied atomic.Int32
		r.cache.onEmpty(func() { emptied.Add(1) })
		r.grant()
		r.wait(29 * time.Minute)
		if r.held("A") != nil || r.cache.empty() || emptied.Load() > 0 {
			t.Errorf("empty %v, told %d times", r.cache.empty(), emptied.Load())
		}
		r.wait(time.Minute)
		r.wantLocked(true)
		if !r.cache.empty() || emptied.Load() == 0 {
			t.Errorf("empty %v, told %d times", r.cache.empty(), emptied.Load())
		}
	})
}

// A daemon from which nobody got anything has nothing to lock.
func TestUnusedNeverIdles(t *testing.T) {
	idling(t, "none", func(t *testing.T, r *timed) {
		r.status(r.root)
		if !r.cache.empty() {
			t.Error("it waits for something")
		}
		r.wait(24 * time.Hour)
		r.wantLocked(false)
	})
}

func TestIdleFollowsTheConfig(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.grant()
		if on := r.status("").Daemon.LocksOn; len(on) != 0 {
			t.Errorf("locks on %q", on)
		}
		r.wait(time.Hour)
		r.grant()
		r.config("idle = \"90s\"\n")
		if on := r.status("").Daemon.LocksOn; !slices.Equal(on, []string{"idle 1m30s"}) {
			t.Errorf("locks on %q", on)
		}
		r.grant()
		r.config("") // nobody asks: the timer looks
		r.wait(time.Hour)
		r.wantLocked(false)
		r.config("idle = \"90s\"\n")
		r.grant()
		r.config("idle = 7\n") // what can't be read changes nothing
		r.wait(90 * time.Second)
		r.wantLocked(true)
	})
}

// Nothing that anybody does makes a value stay longer than the longest ttl, from
// the moment when it was fetched.
func TestHardCap(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.config("max_ttl = \"10m\"\n")
		r.worksite("[secrets]\nA = \"\"\nB = { required = false }\n")
		r.set("A", "1")
		r.grant()
		memory := r.held("A")
		for i := range 10*60 - 1 {
			time.Sleep(time.Second)
			r.status(r.root)
			r.want(r.grant(), wire.OK, "A=1")
			if i%60 > 0 { // what follows takes its time
				continue
			}
			if _, err := r.agent.Get(t.Context(), "acme/api", "A"); err != nil {
				t.Fatal(err)
			}
			if _, err := r.agent.Get(t.Context(), "acme/api", "B"); err == nil {
				t.Fatal("there is a B")
			}
			if _, err := r.agent.Question(t.Context(), Query{Root: r.root}); err != nil {
				t.Fatal(err)
			}
		}
		if &memory[0] != &r.held("A")[0] {
			t.Fatal("the value was fetched anew")
		}
		r.wait(time.Second)
		if r.held("A") != nil || !bytes.Equal(memory, []byte{0}) {
			t.Error("the value is held for longer than max_ttl")
		}
	})
}

// The same over the socket, where there are version checks too, with a clock of
// the test's own: no timer is due before the end.
func TestHardCapOverTheSocket(t *testing.T) {
	var clock atomic.Int64
	r := newRig(t, "none", func(o *Options) {
		o.Now = func() time.Duration { return time.Hour + time.Duration(clock.Load()) }
	})
	r.overSocket()
	r.config("max_ttl = \"10m\"\nidle = \"20m\"\n")
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.want(r.grant(), wire.OK, "A=1")
	looks := r.counting()
	for range 10*60 - 1 {
		clock.Add(int64(time.Second))
		r.status(r.root)
		if _, err := wire.Call(r.place, time.Minute, nil, []byte(wire.VerbPing)); err != nil {
			t.Fatal(err)
		}
		r.want(r.grant(), wire.OK, "A=1")
	}
	if n := looks.Load(); n != 0 {
		t.Errorf("the rack was asked %d times for what is held", n)
	}
	clock.Add(int64(time.Second))
	if s := r.status(r.root).Secrets[0]; s.Held {
		t.Errorf("it has %d s left", s.LeftSeconds)
	}
	r.want(r.grant(), wire.OK, "A=1")
	if n := looks.Load(); n == 0 {
		t.Error("a value was given that had ended")
	}
	for range 20 * 12 {
		clock.Add(int64(5 * time.Second))
		r.status(r.root)
		if _, err := wire.Call(r.place, time.Minute, nil, []byte(wire.VerbPing)); err != nil {
			t.Fatal(err)
		}
	}
	r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
}

// counting counts how often the rack is opened from now on.
func (r *rig) counting() *atomic.Int32 {
	looks := &atomic.Int32{}
	r.meets(func(context.Context) error {
		looks.Add(1)
		return nil
	})
	return looks
}
