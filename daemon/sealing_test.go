package daemon

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyrack/daemon/seal"
	"keyrack/daemon/wire"
)

// keysInMemory keeps keys as the kernel does, for a clock that is a test's.
type keysInMemory struct {
	now  func() time.Duration
	mu   sync.Mutex
	last int
	keys map[int]keyInMemory
}

type keyInMemory struct {
	key []byte
	end int64
}

func (m *keysInMemory) Add(key []byte, end int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.keys[m.last] = keyInMemory{slices.Clone(key), end}
	return m.last, nil
}

func (m *keysInMemory) Read(id int, key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[id]
	if !ok || int64(m.now()/time.Second) >= k.end {
		return seal.ErrEnded
	}
	copy(key, k.key)
	return nil
}

func (m *keysInMemory) Remove(id int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, id)
}

func (m *keysInMemory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys)
}

func (m *keysInMemory) End(left time.Duration) int64 { return seconds(m.now() + left) }

// sealing has the cache seal what it holds from now on.
func (r *timed) sealing() *keysInMemory {
	r.t.Helper()
	m := &keysInMemory{now: r.options.Now, keys: map[int]keyInMemory{}}
	if err := r.cache.takeKeysOf(m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

func TestValuesAndKeyAreSealed(t *testing.T) {
	inBubble(t, "passphrase", func(t *testing.T, r *timed) {
		keys := r.sealing()
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\nB = { ttl = \"2h\" }\nC = { default = \"3\" }\nD = \"\"\n")
		r.unlock(r.key, 0)
		r.set("A", "12345678")
		r.set("B", "2")
		r.set("D", "")
		for range 2 {
			r.want(r.grant(), wire.OK, "A=12345678 B=2 C=3 D=")
		}
		if bytes.Equal(r.held("A"), []byte("12345678")) || len(r.held("A")) != 8 || bytes.Equal(r.heldKey(), r.key) || len(r.heldKey()) != len(r.key) {
			t.Error("something is held as it is")
		}
		if n := keys.count(); n != 3 {
			t.Errorf("there are %d keys for three moments", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := keys.count(); n != 2 {
			t.Errorf("there are %d keys for two moments", n)
		}
		r.lock()
		if n := keys.count(); n != 0 {
			t.Errorf("%d keys are left under lock", n)
		}
	})
}

// Where the kernel ends a key before the daemon ends the value, as when the wall clock
// is set, the source is asked anew, and for the rack's own key the person.
func TestKernelEndsItFirst(t *testing.T) {
	inBubble(t, "passphrase", func(t *testing.T, r *timed) {
		keys := r.sealing()
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\n")
		r.unlock(r.key, 2*time.Hour)
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1")
		looks := r.looks.Load()
		now := keys.now
		keys.now = func() time.Duration { return now() + time.Hour }
		r.want(r.grant(), wire.OK, "A=1")
		r.want(r.grant(), wire.OK, "A=1")
		if n := r.looks.Load() - looks; n != 1 {
			t.Errorf("the rack was asked %d times", n)
		}
		keys.now = func() time.Duration { return now() + 2*time.Hour }
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		if r.heldKey() != nil || keys.count() != 0 {
			t.Errorf("the rack's key is held, or %d others are", keys.count())
		}
	})
}

// The wall clock ends no value and keeps none: an hour back, values end as before.
func TestWallClockBack(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		keys := r.sealing()
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1")
		looks, now := r.looks.Load(), keys.now
		keys.now = func() time.Duration { return now() - time.Hour }
		time.Sleep(time.Hour - time.Second)
		r.want(r.grant(), wire.OK, "A=1")
		if n := r.looks.Load() - looks; n != 0 {
			t.Errorf("the rack was asked %d times before the end", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if r.held("A") != nil || keys.count() != 0 {
			t.Error("the value outlives its end")
		}
		r.want(r.grant(), wire.OK, "A=1")
		if n := r.looks.Load() - looks; n != 1 {
			t.Errorf("the rack was asked %d times after the end", n)
		}
	})
}
