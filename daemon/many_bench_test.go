package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// BenchmarkCanaries is 200,000 requests of 64 clients, each of whom has a worksite
// with a value of its own: one that is lost, or another's, fails.
func BenchmarkCanaries(b *testing.B) {
	const clients, requests = 64, 200_000
	r, roots := stocked(b, clients)
	for i, root := range roots {
		if !askFor(b, r, root, i) {
			b.Fatal("there is no value to begin with")
		}
	}
	for b.Loop() {
		var left atomic.Int64
		left.Store(requests)
		var running sync.WaitGroup
		for i, root := range roots {
			running.Go(func() {
				for left.Add(-1) >= 0 {
					if !askFor(b, r, root, i) {
						b.Error("a request is lost")
					}
				}
			})
		}
		running.Wait()
	}
	b.ReportMetric(float64(requests*b.N)/b.Elapsed().Seconds(), "requests/s")
}

// many is a rack that has everything, in values of the same length.
type many struct {
	opener
	size int
}

func (m many) Read(_ context.Context, _ []byte, _ string, names []string, room source.Room) error {
	for _, name := range names {
		value, err := room(name, m.size, 0)
		if err != nil {
			return err
		}
		copy(value, bytes.Repeat([]byte("v"), m.size))
	}
	return nil
}

// BenchmarkHeld is 10,000 secrets of ten worksites: what they add to the memory in
// RAM, as a multiple of their bytes, and how long it takes to wipe them all.
func BenchmarkHeld(b *testing.B) {
	const sites, each, size = 10, 1000, 256
	r := newRig(b, "none", nil)
	r.opensBy(many{inProcess{source.Rack{Dir: r.options.DataDir}}, size})
	var ahead atomic.Int64
	start := time.Now()
	r.options.Now = func() time.Duration { return time.Hour + time.Since(start) + time.Duration(ahead.Load()) }
	r.worksite("[secrets]\nA = \"\"\n")
	var text strings.Builder
	for i := range each {
		fmt.Fprintf(&text, "S%d = \"\"\n", i)
	}
	roots := make([]string, sites)
	for i := range roots {
		roots[i] = fmt.Sprintf("%s/many%d", r.dir, i)
		makeSiteOf(b, r.store(), roots[i], fmt.Sprintf("acme/many%d", i), text.String())
	}
	var grown, swept []time.Duration
	for b.Loop() {
		r.cache.Close()
		r.open()
		m := &keysInMemory{now: r.options.Now, keys: map[int]keyInMemory{}}
		if err := r.cache.takeKeysOf(m); err != nil {
			b.Fatal(err)
		}
		f, _ := r.cache.prepare(b.Context(), Query{Root: r.root}) // the floor is what the first value takes
		r.cache.free(f)
		before := settledMemory(b)
		for _, root := range roots {
			f, _ := r.cache.prepare(b.Context(), Query{Root: root})
			if n := bytes.Count(f.bytes, bytes.Repeat([]byte("v"), size)); n != each {
				b.Fatalf("%d of %d values", n, each)
			}
			r.cache.free(f)
		}
		grown = append(grown, time.Duration(settledMemory(b)-before))
		ahead.Add(int64(DefaultTTL))
		swept = append(swept, took(b, func() error { r.cache.sweep(); return nil }))
		if !r.cache.empty() || m.count() != 0 {
			b.Fatal("something is held after the end")
		}
		if g, err := r.cache.Grant(b.Context(), Query{Root: roots[0]}); err != nil || g.Status != wire.OK {
			b.Fatal("nothing can be had again")
		}
	}
	b.ReportMetric(float64(median(grown))/(sites*each*size), "growth-ratio")
	b.ReportMetric(float64(median(swept))/1e6, "sweep-ms")
}

// settledMemory is what this process has in RAM, without what it could give back.
func settledMemory(b *testing.B) int {
	debug.FreeOSMemory()
	return resident(b, os.Getpid())
}
