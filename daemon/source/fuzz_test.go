package source

import (
	"encoding/json"
	"strings"
	"testing"

	"keyrack/worksite"
)

// A pointer into any text gives a value or an error, and never anything of another
// place: what it gives for a string is what the JSON library gives for it.
func FuzzPointed(f *testing.F) {
	f.Add(`{"a":{"b":["x",1,null]}}`, "/a/b/0")
	f.Add(`{"":"e","~":"t","a/b":2}`, "/~01")
	f.Add("text\n", "")
	f.Add(`[`, "/0")
	f.Fuzz(func(t *testing.T, text, pointer string) {
		if pointer != "" && pointer[0] != '/' {
			return // worksite allows none
		}
		value, err := pointed([]byte(text), pointer)
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
	for _, text := range []string{"pass:a b", "k8s://n/s#k", "sops:a/b#/c", "age:~/x", "keyring:a/b/c", "file:x#/y", "dotenv:x#Y", "gopass:a", "gopass:a#b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := worksite.ParseSource(text)
		if err != nil || text == "" {
			return
		}
		row := toolOf(s.Scheme)
		argv := Command(s, Place{Dir: "/w", Home: "/h", Identity: "/i"})
		if len(argv) != len(row.argv) && !(s.Scheme == "gopass" && s.Field == "" && len(argv) == len(row.argv)-1) {
			t.Fatalf("%q has %q", text, argv)
		}
		for i, word := range argv {
			if word != row.argv[i] && (word == "" || word[0] == '-') {
				t.Errorf("%q has %q", text, argv)
			}
		}
		if got := Batches([]worksite.Source{s, s}); len(got) != 1 {
			t.Errorf("%q twice takes %d processes", text, len(got))
		}
	})
}
