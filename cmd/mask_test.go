package cmd

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"keyrack/shells"
)

func TestMasker(t *testing.T) {
	masks := masksFor([]shells.Var{{Name: "A", Value: []byte("canary-one")}, {Name: "B", Value: []byte("canary-one-and-two\n")},
		{Name: "C", Value: []byte("aaaaaaab")}, {Name: "SHORT", Value: []byte("1234567")}})
	for text, want := range map[string]string{
		"":                              "",
		"plain":                         "plain",
		"canary-one":                    "[A masked]",
		"<canary-one>":                  "<[A masked]>",
		"canary-onecanary-one":          "[A masked][A masked]",
		"canary-one-and-two":            "[B masked]",
		"canary-one-and-twocanary-one":  "[B masked][A masked]",
		"canary-one-and-tw":             "[A masked]-and-tw",
		"canary-on":                     "canary-on",
		"canary-onf":                    "canary-onf",
		"canarcanary-one":               "canar[A masked]",
		"aaaaaaaaaab":                   "aaa[C masked]",
		"aaaaaaa":                       "aaaaaaa",
		"1234567":                       "1234567",
		"x\x00canary-one\xff\n":         "x\x00[A masked]\xff\n",
		"canary-one-and-canary-one-and": "[A masked]-and-[A masked]-and",
	} {
		for size := range len(text) + 1 {
			var out bytes.Buffer
			m := &masker{w: &out, masks: masks}
			for chunk := range chunks(text, max(size, 1)) {
				if _, err := io.WriteString(m, chunk); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.Close(); err != nil || out.String() != want {
				t.Errorf("%q by %d: %q, %v; want %q", text, size, out.String(), err, want)
			}
		}
	}
}

func chunks(text string, size int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			n := min(size, len(text))
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// What is no beginning of a value goes out at once, and what is held back is less
// than the longest value.
func TestMaskerHoldsLittle(t *testing.T) {
	var out bytes.Buffer
	m := &masker{w: &out, masks: masksFor([]shells.Var{{Name: "A", Value: []byte("canary-" + strings.Repeat("x", 1000))}})}
	io.WriteString(m, "prompt> ")
	if out.String() != "prompt> " {
		t.Errorf("%q came", out.String())
	}
	for range 1000 {
		io.WriteString(m, "canary-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\ncanary")
		if len(m.held) > 1007 || cap(m.held) > 8192 {
			t.Fatalf("%d of %d bytes are held", len(m.held), cap(m.held))
		}
	}
}

// FuzzMasker: however a text is cut, what comes out has no value, and is the text
// where it has none.
func FuzzMasker(f *testing.F) {
	f.Add("xxcanary-onexx", uint64(1))
	f.Add("canary-one-and-twocanary-one-and-two", uint64(7))
	masks := masksFor([]shells.Var{{Name: "A", Value: []byte("canary-one")}, {Name: "B", Value: []byte("canary-one-and-two")}, {Name: "C", Value: []byte("oneaoneaone")}})
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		var whole, parts bytes.Buffer
		m := &masker{w: &whole, masks: masks}
		io.WriteString(m, text)
		m.Close()
		m = &masker{w: &parts, masks: masks}
		for rest := text; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			io.WriteString(m, rest[:n])
			rest = rest[n:]
		}
		m.Close()
		has := false
		for _, mask := range masks {
			has = has || strings.Contains(text, string(mask.value))
		}
		if !has && parts.String() != text || strings.Contains(parts.String(), "canary-one") {
			t.Errorf("%q in parts is %q, whole %q", text, parts.String(), whole.String())
		}
	})
}

// BenchmarkMasker masks 10 values in the output of a compiler:
//
//	go test ./cmd -run '^$' -bench Masker
func BenchmarkMasker(b *testing.B) {
	var vars []shells.Var
	for i := range 10 {
		vars = append(vars, shells.Var{Name: "A", Value: []byte(strings.Repeat(string(rune('a'+i)), 3) + "-0123456789abcdef0123456789abcdef")})
	}
	line := "ok  \tkeyrack/daemon/wire\t4.966s and some more words that stand in such a line, as they do\n"
	text := []byte(strings.Repeat(line, 32<<10/len(line)))
	m := &masker{w: io.Discard, masks: masksFor(vars)}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := m.Write(text); err != nil {
			b.Fatal(err)
		}
	}
}
