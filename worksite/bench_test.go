package worksite

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRequest is what the daemon does for each request: one read of a usual
// file, and the look for its approval.
func BenchmarkRequest(b *testing.B) {
	var text strings.Builder
	text.WriteString("name = 'acme/api'\nttl = '1h'\n[secrets]\n")
	for i := range 20 {
		fmt.Fprintf(&text, "SECRET_%d = { ttl = '15m', description = 'one of many' }\n", i)
	}
	st := newStore(b)
	root := write(b, text.String())
	first := read(b, root)
	if err := st.Allow(first); err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if st.Check(read(b, root)) != Allowed {
				b.Fatal("not allowed")
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if site, err := first.Reread(); err != nil || st.Check(site) != Allowed {
				b.Fatal("not allowed", err)
			}
		}
	})
}

// BenchmarkWorst is the most work that 64 KiB can make.
func BenchmarkWorst(b *testing.B) {
	for name, text := range map[string]string{
		"keys":    "[secrets]\n" + strings.Repeat("a.a.a.a.a.a.a.a.a.a.a.a.a.a=1\n", maxSize/31),
		"names":   "[secrets]\n" + numbered("S%d=''\n", 6000),
		"tables":  numbered("[a.a.a.a.a.a.a.a.a.a.a.a.a.a%d]\n", 1700),
		"inline":  "x=[" + strings.Repeat("{a={a={a={a={a={a={a={}}}}}}}},", maxSize/32),
		"unknown": strings.Repeat("x", maxSize-10) + "=1",
	} {
		if len(text) > maxSize {
			b.Fatal(name, len(text))
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = parse("/w", "/w", []byte(text))
			}
		})
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
