package daemon

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyrack/daemon/wire"
)

// timed is a rig whose cache lives in a bubble of synctest. Its clock can run
// ahead of the timers, as it does in suspend, and the rack can be slow.
type timed struct {
	*rig
	looks atomic.Int32 // how often the rack was opened
	slow  chan struct{}
	ahead atomic.Int64
}

func inBubble(t *testing.T, kind string, f func(t *testing.T, r *timed)) {
	t.Helper()
	r := &timed{}
	r.rig = newRig(t, kind, nil)
	r.cache.Close()
	synctest.Test(t, func(t *testing.T) {
		r.t = t
		start := time.Now()
		r.slow = make(chan struct{})
		close(r.slow)
		r.options.Now = func() time.Duration {
			return time.Hour + time.Since(start) + time.Duration(r.ahead.Load())
		}
		r.meets(func(context.Context) error {
			r.looks.Add(1)
			<-r.slow
			return nil
		})
		cache, err := NewCache(r.options)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		r.cache, r.agent = cache, cache
		f(t, r)
	})
}

// held is the memory of a value in the cache, not a copy.
func (r *timed) held(name string) []byte {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	if g := r.cache.grants[r.root]; g != nil {
		return g.values[name].block.Bytes()
	}
	return nil
}

// heldKey is the memory of the rack's key in the cache, not a copy.
func (r *timed) heldKey() []byte {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	return r.cache.key.block.Bytes()
}

func TestValueEndsAtItsTTL(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\nB = { ttl = \"2h\" }\n")
		r.set("A", "1")
		r.set("B", "2")
		r.grant()
		looks := r.looks.Load()
		memory := r.held("A")
		for range 59 { // use does not extend
			time.Sleep(time.Minute)
			r.want(r.grant(), wire.OK, "A=1 B=2")
			r.status(r.root)
		}
		if n := r.looks.Load(); n != looks {
			t.Errorf("the rack was asked %d times for what is held", n-looks)
		}
		if g := r.grant(); g.Summary != "acme/api: 2 secrets for 1m" {
			t.Errorf("summary %q", g.Summary)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.held("A") != nil || !bytes.Equal(memory, []byte{0}) {
			t.Error("the value is not wiped at its end")
		}
		if r.held("B") == nil {
			t.Error("a longer value went with it")
		}
		r.want(r.grant(), wire.OK, "A=1 B=2")
		if r.looks.Load() != looks+1 {
			t.Errorf("the rack was asked %d times anew", r.looks.Load()-looks)
		}
	})
}

// The clock runs on while the timers stand still: suspend, SIGSTOP.
func TestExpiredValueIsNeverServed(t *testing.T) {
	inBubble(t, "passphrase", func(t *testing.T, r *timed) {
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\n")
		r.unlock(r.key, 30*time.Minute)
		r.set("A", "1")
		f, ticket := r.cache.prepare(t.Context(), Query{Root: r.root})
		defer r.cache.free(f)
		r.wantFrame(f, wire.OK, "A=1")
		if !r.cache.valid(ticket) {
			t.Error("a fresh answer is not valid")
		}
		r.ahead.Store(int64(time.Hour))
		if r.cache.valid(ticket) {
			t.Error("an answer with an expired value is valid")
		}
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		if s := r.status(r.root); s.Secrets[0].Held || s.RackKeyLeft != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestRackKeyEndsAtItsTTL(t *testing.T) {
	inBubble(t, "passphrase", func(t *testing.T, r *timed) {
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\n")
		r.unlock(r.key, 30*time.Minute)
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1")
		memory := r.heldKey()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if r.heldKey() != nil || !bytes.Equal(memory, make([]byte, len(memory))) {
			t.Error("the key is not wiped at its end")
		}
		r.want(r.grant(), wire.OK, "A=1") // a value that is held has its own time
		wantError(t, r.agent.Set(t.Context(), "acme/api", "A", []byte("2")), wire.Locked, "locked")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		if !r.cache.empty() {
			t.Error("something is held")
		}
	})
}

func TestUnlockFor8hByDefault(t *testing.T) {
	inBubble(t, "passphrase", func(t *testing.T, r *timed) {
		r.unlock(r.key, 0)
		if s := r.status(""); s.RackKeyLeft != 8*3600 {
			t.Errorf("the key stays for %d s", s.RackKeyLeft)
		}
	})
}

func TestLockWipes(t *testing.T) {
	inBubble(t, "passphrase", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.unlock(r.key, 0)
		r.set("A", "12345678")
		r.grant()
		value, key := r.held("A"), r.heldKey()
		r.lock()
		if !bytes.Equal(value, make([]byte, 8)) || !bytes.Equal(key, make([]byte, len(key))) {
			t.Error("lock left a value or the key in memory")
		}
		if !r.cache.empty() {
			t.Error("something is held")
		}
	})
}

func TestLockSurvivesARestart(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.lock()
		r.cache.Close()
		cache, err := NewCache(r.options)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		r.cache, r.agent = cache, cache
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		r.unlock(nil, 0)
		r.want(r.grant(), wire.OK, "A=1")
	})
}

// What changes while the rack is being read is in the answer.
func TestLockWhileFetching(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.slow = make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() { r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock") })
		synctest.Wait()
		r.lock()
		close(r.slow)
		waiting.Wait()
		if r.held("A") != nil {
			t.Error("a value is held under lock")
		}
	})
}

func TestSetWhileFetching(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		gate := make(chan struct{})
		r.slow = gate
		var waiting sync.WaitGroup
		waiting.Go(func() { r.want(r.grant(), wire.OK, "A=2") })
		synctest.Wait()
		r.slow = make(chan struct{})
		close(r.slow)
		r.set("A", "2")
		close(gate)
		waiting.Wait()
	})
}

// Thirty shells that need the same slow source cause one look, and hold up nobody
// who needs something else.
func TestOneLookForThirty(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.looks.Store(0)
		r.slow = make(chan struct{})
		var waiting sync.WaitGroup
		for range 30 {
			waiting.Go(func() { r.want(r.grant(), wire.OK, "A=1") })
		}
		synctest.Wait()
		if s := r.status(""); s.Rack != "none" { // answered while they wait
			t.Errorf("status %+v", s)
		}
		if err := r.agent.Touch(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		g, err := r.agent.Grant(ctx, Query{Root: r.root})
		if err != nil || g.Status != wire.Unavailable || !strings.Contains(g.Lines[0], "gave up") {
			t.Errorf("an impatient client: %+v, %v", g, err)
		}
		close(r.slow)
		waiting.Wait()
		if n := r.looks.Load(); n != 2 { // touch made the first look a stale one
			t.Errorf("the rack was opened %d times", n)
		}
	})
}

// A name that the rack doesn't have costs one look, not one a command line.
func TestAbsentNamesAreRemembered(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\nB = { required = false }\n")
		r.set("A", "1")
		r.looks.Store(0)
		for range 5 {
			r.want(r.grant(), wire.OK, "A=1")
		}
		if n := r.looks.Load(); n != 1 {
			t.Errorf("the rack was opened %d times", n)
		}
		// Another login session's daemon sets it in the same rack.
		options := r.options
		options.Place = wire.PlaceIn(r.dir+"/other", "")
		other, err := NewCache(options)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := other.Set(t.Context(), "acme/api", "B", []byte("2")); err != nil {
			t.Fatal(err)
		}
		r.want(r.grant(), wire.OK, "A=1 B=2")
	})
}

func TestKeyFailureIsOneLine(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.meets(func(context.Context) error { return errors.New("the keyring is closed") })
		r.want(r.grant(), wire.Failed, "", "acme/api: the keyring is closed")
		r.meets(func(context.Context) error { panic("MARKER") })
		g := r.grant()
		if g.Status != wire.Failed || len(g.Lines) != 1 || strings.Contains(g.Lines[0], "MARKER") {
			t.Errorf("status %s, lines %q", g.Status, g.Lines)
		}
		r.meets(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		r.want(r.grant(), wire.Unavailable, "", "acme/api: the rack's key takes too long to get")
	})
}
