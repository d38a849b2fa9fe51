package scan

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"keyrack/daemon/arena"
)

func newSet(t testing.TB, values map[string]string) *Set {
	t.Helper()
	a, err := arena.New(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	s := NewSet(a)
	for name, value := range values {
		if long, err := s.Add(name, []byte(value)); err != nil || !long {
			t.Fatalf("%s: %v, %v", name, long, err)
		}
	}
	s.Build()
	return s
}

// places are the findings in text as "LINE:COLUMN NAME FORM".
func places(t testing.TB, r *reader, text string) (all []string) {
	t.Helper()
	if err := r.search(strings.NewReader(text), func(f Finding) {
		all = append(all, fmt.Sprintf("%d:%d %s %s", f.Line, f.Column, f.Name, f.Form))
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestForms(t *testing.T) {
	value := "s3cr3t/with+odd=\"chars\" & \u00fcml\u00e4ut"
	s := newSet(t, map[string]string{"A": value})
	quoted, err := json.Marshal("x" + value)
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string]string{
		plain:                        value,
		"hex":                        hex.EncodeToString([]byte("ab" + value + "c")),
		"hex ":                       strings.ToUpper(hex.EncodeToString([]byte(value))),
		"URL-encoded":                url.QueryEscape(value),
		"URL-encoded ":               url.PathEscape(value),
		"URL-encoded in user info":   url.UserPassword("u", value).String(),
		"URL-encoded in lower case":  strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3D", "%3d", "%C3", "%c3", "%BC", "%bc", "%A4", "%a4").Replace(url.QueryEscape(value)),
		"URL-encoded all of it":      strings.ReplaceAll(url.QueryEscape(value), "+", "%20"),
		"escaped":                    strings.ReplaceAll(string(quoted), `\u0026`, "&"),
		"base64":                     base64.StdEncoding.EncodeToString([]byte(value)),
		"base64 after one":           base64.StdEncoding.EncodeToString([]byte("x" + value + "yz")),
		"base64 after two":           base64.StdEncoding.EncodeToString([]byte("xy" + value + "z")),
		"base64 after three":         base64.StdEncoding.EncodeToString([]byte("xyz" + value)),
		"base64 for URLs":            base64.URLEncoding.EncodeToString([]byte(value)),
		"base64 for URLs, after one": base64.RawURLEncoding.EncodeToString([]byte("x" + value)),
	} {
		got := places(t, s.reader(), "first line\n="+text+"\n")
		if len(got) != 1 || !strings.HasPrefix(got[0], "2:") || !strings.Contains(got[0], " A "+strings.TrimSpace(strings.SplitN(form, " in ", 2)[0])[:3]) {
			t.Errorf("%s: %d places: %q", form, len(got), got)
		}
	}
	if got := places(t, s.reader(), value[:len(value)-1]+"\n"+value[1:]); got != nil {
		t.Errorf("half a value is found: %q", got)
	}
}

func TestShortValues(t *testing.T) {
	s := NewSet(nil)
	for _, value := range []string{"", "1234567", "1234567\r\n"} {
		if long, err := s.Add("A", []byte(value)); long || err != nil {
			t.Errorf("a value of %d bytes: %v, %v", len(value), long, err)
		}
	}
	s.Build()
	if got := places(t, s.reader(), "1234567"); got != nil {
		t.Errorf("found %q", got)
	}
}

// A value of eight bytes is found in each of its forms, in a text that ends with it.
func TestShortestValue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		value := make([]byte, Shortest)
		for i := range value {
			value[i] = byte(1 + r.IntN(255))
		}
		value[Shortest-1] |= 0x10 // no line end
		s := newSet(t, map[string]string{"A": string(value)})
		for skip := range 4 {
			text := append([]byte("abcd")[:skip:skip], value...)
			for _, encoded := range []string{string(text), base64.StdEncoding.EncodeToString(text), hex.EncodeToString(text), url.QueryEscape(string(text))} {
				if got := places(t, s.reader(), encoded); len(got) == 0 {
					t.Fatalf("after %d bytes: not found", skip)
				}
			}
		}
	}
}

// What is found is what a search for one pattern after the other finds, however the
// text comes and wherever the buffer ends.
func FuzzSearch(f *testing.F) {
	f.Add(uint64(1), "abababab", "babababa")
	f.Add(uint64(2), "aaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaa")
	f.Add(uint64(3), "abcabcabcabc\nabc", "bcabcabcab")
	f.Fuzz(func(t *testing.T, seed uint64, first, second string) {
		values := map[string]string{}
		for name, value := range map[string]string{"A": first, "B": second} {
			if value = strings.TrimRight(value, "\r\n"); len(value) >= Shortest && len(value) < 1000 {
				values[name] = value
			}
		}
		if len(values) == 0 {
			return
		}
		s := newSet(t, values)
		r := rand.New(rand.NewPCG(seed, 0))
		var text []byte
		for range 40 {
			p := s.patterns[r.IntN(len(s.patterns))].text
			from := r.IntN(len(p))
			text = append(text, p[from:from+r.IntN(len(p)-from+1)]...)
			text = append(text, p[:r.IntN(len(p)+1)]...)
			if r.IntN(4) == 0 {
				text = append(text, '\n')
			}
		}
		var want []string
		for at := range text {
			line, start := 1+bytes.Count(text[:at], newline), 1+bytes.LastIndexByte(text[:at], '\n')
			for _, p := range s.patterns {
				if bytes.HasPrefix(text[at:], p.text) {
					want = append(want, fmt.Sprintf("%d:%d %s %s", line, at-start+1, p.name, p.form))
				}
			}
		}
		if len(want) > most {
			return
		}
		slices.Sort(want)
		for _, size := range []int{s.longest, s.longest + 1, 2 * s.longest, chunk} {
			reader := &reader{s, make([]byte, size)}
			var got []string
			err := reader.search(iotest.HalfReader(bytes.NewReader(text)), func(f Finding) {
				got = append(got, fmt.Sprintf("%d:%d %s %s", f.Line, f.Column, f.Name, f.Form))
			})
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("with a buffer of %d: %d places, not %d: %v", size, len(got), len(want), err)
			}
		}
	})
}

func TestMask(t *testing.T) {
	s := newSet(t, map[string]string{"A": "overlapping-one", "B": "one-after-it"})
	for text, want := range map[string]string{
		"nothing":                                     "nothing",
		"x-overlapping-one.txt":                       "x-[A].txt",
		"overlapping-oneone-after-it":                 "[A][B]",
		"overlapping-one-after-it.md":                 "[A].md",
		hex.EncodeToString([]byte("overlapping-one")): "[A]",
	} {
		if got, _ := s.Mask(text); got != want {
			t.Errorf("%s becomes %s, not %s", text, got, want)
		}
	}
}

func TestManyPlaces(t *testing.T) {
	s := newSet(t, map[string]string{"A": "again and again"})
	n := 0
	err := s.reader().search(strings.NewReader(strings.Repeat("again and again\n", most+1)), func(Finding) { n++ })
	if n != most || err != ErrMore {
		t.Errorf("%d places, %v", n, err)
	}
}

func BenchmarkSearch(b *testing.B) {
	for _, values := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(values), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			letters := func(n int) string {
				const those = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=_-.\n"
				text := make([]byte, n)
				for i := range text {
					text[i] = those[r.IntN(len(those))]
				}
				return string(text)
			}
			all := map[string]string{}
			for i := range values {
				all[fmt.Sprint("S", i)] = strings.ReplaceAll(letters(8+r.IntN(40)), "\n", "x")
			}
			s, text := newSet(b, all), letters(8<<20)
			reader := s.reader()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := reader.search(strings.NewReader(text), func(Finding) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
