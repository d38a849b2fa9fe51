package source

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"keyrack/worksite"
)

// A pointer into any text gives a value or an error, and never anything of another
// place: what it gives for a string is what the JSON library gives for it.
func FuzzAt(f *testing.F) {
	f.Add(`{"a":{"b":["x",1,null]}}`, "/a/b/0")
	f.Add(`{"":"e","~":"t","a/b":2}`, "/~01")
	f.Add("text\n", "")
	f.Add(`[`, "/0")
	f.Fuzz(func(t *testing.T, text, pointer string) {
		if pointer != "" && pointer[0] != '/' {
			return // worksite allows none
		}
		value, err := at([]byte(text), pointer)
		if err != nil {
			return
		}
		var object map[string]any
		key := strings.TrimPrefix(pointer, "/")
		if pointer == "" || strings.ContainsAny(key, "/~") || json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		if want, ok := object[key].(string); ok && want != string(value) {
			t.Errorf("%q at %q is %q, not %q", text, pointer, value, want)
		}
	})
}

// Every source that worksite takes has an argv that can't be read as an option, and
// a batch of its own.
func FuzzCommand(f *testing.F) {
	for _, text := range []string{"pass:a b", "k8s://n/s#k", "sops:a/b#/c", "age:~/x", "keyring:a/b/c", "file:x#/y", "dotenv:x#Y", "gopass:a", "gopass:a#b", `exec:["./a","b"]#/c`,
		"op://a/b c/d", "aws-sm://a/b#c", "aws-ssm:///a/b", "az-kv://a/b", "bw://a b#c", "bws://a", "doppler://a/b/c", "gcp-sm://a/b", "infisical://a/b/c/d", "vault://a/b#c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := worksite.ParseSource(text)
		if err != nil || text == "" {
			return
		}
		row := toolOf(s.Scheme)
		if s.Scheme == "exec" { // it is the worksite's own
			if len(row.fill(s, Place{})) == 0 || len(Batches([]worksite.Source{s, s})) != 1 {
				t.Fatalf("%q has no command of its own", text)
			}
			return
		}
		argv := row.fill(s, Place{Dir: "/w", Home: "/h", Identity: "/i"})
		if len(argv) != len(row.argv) && !(s.Scheme == "gopass" && s.Field == "" && len(argv) == len(row.argv)-1) {
			t.Fatalf("%q has %q", text, argv)
		}
		for i, word := range argv {
			if strings.HasPrefix(row.argv[i], "{") && (word == "" || word[0] == '-') {
				t.Errorf("%q has %q", text, argv)
			}
		}
		if row.many != nil {
			for _, word := range row.many.fill([]worksite.Source{s, s}) {
				if !slices.Contains(row.many.argv, word) && (word == "" || word[0] == '-') {
					t.Errorf("%q is %q among others", text, word)
				}
			}
		}
		if got := Batches([]worksite.Source{s, s}); len(got) != 1 {
			t.Errorf("%q twice takes %d processes", text, len(got))
		}
	})
}

// Whatever stands for the end of values, they are kept for a while, for a moment where
// they have ended, or not at all: never for longer than it says.
func FuzzTimeOf(f *testing.F) {
	for _, text := range []string{`3600`, `"3600"`, `0`, `null`, `-1`, `1.5`, `1e30`, `"NaN"`, `1893456000`, `"2030-01-01T00:00:00Z"`, `"2020-01-01T00:00:00+00:00"`, `"2030-01-01 00:00"`, `{}`} {
		f.Add(text)
	}
	now := time.Date(2029, 12, 31, 23, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		left, err := timeOf([]byte(`{"a":`+text+`}`), "/a", now)
		if err != nil || left < 0 {
			if left != 0 {
				t.Fatalf("%s is kept for %s, %v", text, left, err)
			}
			return
		}
		var seconds float64
		if json.Unmarshal([]byte(text), &seconds) == nil && seconds > 0 && seconds < notTimes && left.Seconds() > seconds+1e-6 {
			t.Errorf("%s is kept for %s", text, left)
		}
	})
}

func TestTimeOf(t *testing.T) {
	now := time.Date(2029, 12, 31, 23, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		`3600`: time.Hour, `"3600"`: time.Hour, `0.5`: time.Second / 2, `1893456000`: time.Hour, `"2030-01-01T00:00:00Z"`: time.Hour, `"2030-01-01T02:00:00.5+01:00"`: 2*time.Hour + time.Second/2,
		`0`: 0, `null`: 0, `""`: 0, `-5`: 1, `"2020-01-01T00:00:00Z"`: 1,
		`"soon"`: -1, `"NaN"`: -1, `1e300`: -1, `{}`: -1, `true`: -1,
	} {
		left, err := timeOf([]byte(`{"a":`+text+`}`), "/a", now)
		if err != nil {
			left = -1
		}
		if left != want {
			t.Errorf("%s: %s (%v), want %s", text, left, err, want)
		}
	}
}
