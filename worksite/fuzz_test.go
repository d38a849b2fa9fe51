package worksite

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// seed adds what the other tests read.
func seed(f *testing.F) {
	for _, tt := range refused {
		if len(tt.text) < 1000 {
			f.Add(tt.text)
		}
	}
	scripts, err := filepath.Glob("../testscripts/testdata/*/*.txtar")
	if err != nil || len(scripts) == 0 {
		f.Fatal("no scripts", err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n-- ") {
			if name, body, ok := strings.Cut(part, " --\n"); ok && strings.HasSuffix(name, ".toml") {
				f.Add(body)
			}
		}
	}
	f.Add("name = 'a/b' # c\r\nttl=\"1h\"\r\n[secrets]\r\nA=''\r\nB={from=['','x'],for=[],required=false}\r\n[secrets.C]\r\ndefault=\"\"\"\r\n\\\r\n \"\"x\"\"\"\"\"\r\n")
	f.Add("a = [1, 0x1f, 1e3, 1979-05-27 07:32:00, 07:32:00, true, inf, nan, -1.5, '''x''''', [ { b.c = 1, } ] ]\n[[x]]\ny=1\n[[x]]\ny=2\n")
}

// FuzzParse holds that whatever the bytes are, parse doesn't panic, says the same
// twice, and errs with a position inside of the file and without a value.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		a, errA := parse("/w", "/w", []byte(text))
		b, errB := parse("/w", "/w", []byte(text))
		if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(errA, errB) {
			t.Fatal("twice is not the same")
		}
		if errA == nil {
			checkSite(t, a)
			return
		}
		checkError(t, errA, strings.TrimPrefix(text, "\ufeff"))
	})
}

func checkSite(t *testing.T, s *Site) {
	if CheckName(s.Name) != nil || s.Export != ExportCommand && s.Export != ExportTree || s.TTL < 0 {
		t.Fatalf("name %q, export %q, ttl %s", s.Name, s.Export, s.TTL)
	}
	seen := map[string]bool{}
	for _, secret := range s.Secrets {
		if CheckSecretName(secret.Name) != nil || CheckSecretName(secret.Variable()) != nil || seen[secret.Variable()] || len(secret.From) == 0 {
			t.Fatalf("%+v", secret)
		}
		seen[secret.Variable()] = true
	}
	if lines := Diff(s, s); len(lines) != 0 {
		t.Fatalf("differs from itself: %q", lines)
	}
	for _, line := range Diff(nil, s) {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
			t.Fatalf("%q could act on a terminal", line)
		}
	}
	if err := s.Unbuilt(); err != nil {
		checkError(t, err, s.text)
	}
	if err := s.CheckTTL(1); err != nil {
		checkError(t, err, s.text)
	}
}

func checkError(t *testing.T, err error, text string) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T", err)
	}
	lines := strings.Split(text, "\n")
	if e.Line < 1 || e.Line > len(lines) || e.Col < 1 || e.Col > 1+len([]rune(lines[e.Line-1])) {
		t.Fatalf("%d:%d is outside of the file", e.Line, e.Col)
	}
	if strings.ContainsFunc(e.Text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Fatalf("%q could act on a terminal", e.Text)
	}
	if tree, err := scan(text); strings.Contains(e.Text, marker) && (err != nil || !named(tree, marker)) {
		t.Fatalf("%q has a value", e.Text)
	}
}

// named says whether a key of the tree has word in it.
func named(n *node, word string) bool {
	if strings.Contains(n.name, word) {
		return true
	}
	for _, k := range append(n.keys, n.items...) {
		if named(k, word) {
			return true
		}
	}
	return false
}

// FuzzScan holds that scan takes what the library takes, and has a place for each
// of its keys.
func FuzzScan(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.TrimPrefix(text, "\ufeff")
		if _, bad := badCharacter(text); bad || strings.Count(text, ".")+strings.Count(text, "{")+strings.Count(text, "[") > 200 {
			return
		}
		var values map[string]any
		if _, err := toml.Decode(text, &values); err != nil {
			return
		}
		tree, err := scan(text)
		if err != nil {
			if err.Error() != "nested too deeply" {
				t.Fatalf("the library takes it: %v", err)
			}
			return
		}
		compareTree(t, tree, values)
	})
}

func compareTree(t *testing.T, n *node, value any) {
	switch v := value.(type) {
	case map[string]any:
		if len(v) != len(n.keys) {
			t.Fatalf("%d keys, not %d", len(n.keys), len(v))
		}
		for name, value := range v {
			k := n.index[name]
			if k == nil {
				t.Fatalf("no place for key %q", name)
			}
			compareTree(t, k, value)
		}
	case []any:
		if len(v) != len(n.items) {
			t.Fatalf("%d items, not %d", len(n.items), len(v))
		}
		for i := range v {
			compareTree(t, n.items[i], v[i])
		}
	}
}
