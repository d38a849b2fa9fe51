package source

import (
	"bytes"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// odd are values that a text format could trip over.
func odd() map[string]string {
	all := make([]byte, 0, 255)
	values := map[string]string{
		"EMPTY": "", "NEWLINE": "a\nb\n\n", "QUOTE": `"`, "BACKSLASH": `\`, "BACKSLASHES": `\\" \n \u0041`, "SPACES": "  x  ",
		"HASH": "# not a comment", "TABLE": "[x]", "TEXT": "ä€🔑\u0085\u2028", "CUT": "\xe2\x82", "ESC": "\x1b[0m\x7f", "CRLF": "\r\n",
		"BASE": `{ base64 = "eA==" }`, "NUMBER": "1", "LONG": strings.Repeat("0123456789", 10<<10), "WIDE": strings.Repeat("\x01", 3<<10),
	}
	for b := 1; b < 256; b++ {
		all = append(all, byte(b))
		values["B"+string("0123456789ABCDEF"[b>>4])+string("0123456789ABCDEF"[b&15])] = string([]byte{byte(b)})
	}
	values["ALL"] = string(all)
	return values
}

func TestContentIsTOML(t *testing.T) {
	var c content
	for name, value := range odd() {
		for _, site := range []string{"acme/api", "b", `quo"ted`} {
			i, _ := c.find(site, name)
			c = append(c[:i], append(content{{site, name, []byte(value)}}, c[i:]...)...)
		}
	}
	text := c.text()
	if len(text) != cap(text) {
		t.Errorf("the text has %d bytes in a buffer of %d: it was moved", len(text), cap(text))
	}
	again, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != len(c) {
		t.Fatalf("%d values of %d", len(again), len(c))
	}
	var other map[string]map[string]any
	if _, err := toml.Decode(string(text), &other); err != nil {
		t.Fatalf("a TOML library: %v", err)
	}
	for i, s := range c {
		if compare(again[i], s) != 0 || !bytes.Equal(again[i].value, s.value) {
			t.Errorf("%s of %s came back as another", s.name, s.site)
		}
		_, text := other[s.site][s.name].(string)
		_, binary := other[s.site][s.name].(map[string]any)
		if !text && !binary {
			t.Errorf("a TOML library does not see %s of %s", s.name, s.site)
		}
		if text && other[s.site][s.name] != string(s.value) {
			t.Errorf("a TOML library has another %s of %s", s.name, s.site)
		}
	}
}

func TestWhatPeopleMayWrite(t *testing.T) {
	c, err := parse([]byte("# mine\r\n\n[ \"b\" ]\n\tX=\"1\"\n[\"a\"]\n  Y  =  \"2\"  \n"))
	if err != nil || len(c) != 2 || c[0].site != "a" || string(c[0].value) != "2" || string(c[1].value) != "1" {
		t.Errorf("%d values, %v", len(c), err)
	}
}

func TestContentRefused(t *testing.T) {
	const marker = "MARKER"
	for name, text := range map[string]string{
		"no table":       `X = "MARKER"`,
		"bare table":     `[MARKER]`,
		"open table":     `["MARKER"`,
		"empty table":    `[""]` + "\nX = \"MARKER\"",
		"bare value":     "[\"a\"]\nX = MARKER",
		"open value":     "[\"a\"]\nX = \"MARKER",
		"quote within":   "[\"a\"]\nX = \"MARK\"ER\"",
		"comment after":  "[\"a\"]\nX = \"MARKER\" # \"",
		"literal":        "[\"a\"]\nX = 'MARKER'",
		"long escape":    "[\"a\"]\nX = \"MARKER\\U00000041\"",
		"wide escape":    "[\"a\"]\nX = \"MARKER\\u20AC\"",
		"high escape":    "[\"a\"]\nX = \"MARKER\\u0080\"",
		"other escape":   "[\"a\"]\nX = \"MARKER\\q\"",
		"open escape":    "[\"a\"]\nX = \"MARKER\\\"",
		"not UTF-8":      "[\"a\"]\nX = \"MARKER\xff\"",
		"bad base64":     "[\"a\"]\nX = { base64 = \"MARKER!\" }",
		"loose base64":   "[\"a\"]\nX = { base64 = \"MARKEB==\" }",
		"open base64":    "[\"a\"]\nX = { base64 = \"TUFSS0VS\"",
		"twice":          "[\"a\"]\nX = \"MARKER\"\n[\"a\"]\nX = \"MARKER\"",
		"no name":        "[\"a\"]\n = \"MARKER\"",
		"quoted name":    "[\"a\"]\n\"MARKER\" = \"x\"",
		"just a name":    "[\"a\"]\nMARKER",
		"NUL in between": "[\"a\"]\nMARKER\x00 = \"x\"",
	} {
		_, err := parse([]byte(text))
		if err == nil || strings.Contains(err.Error(), marker) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzContent(f *testing.F) {
	f.Add([]byte(heading + "[\"a\"]\nX = \"1\\n\\u001B\"\nY = { base64 = \"/w==\" }\n"))
	f.Add([]byte("[\"a\"]\nX = \"\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse(text)
		if err != nil {
			return
		}
		again, err := parse(c.text())
		if err != nil || len(again) != len(c) {
			t.Fatalf("%d values, then %d, %v", len(c), len(again), err)
		}
		for i := range c {
			if compare(c[i], again[i]) != 0 || !bytes.Equal(c[i].value, again[i].value) {
				t.Fatalf("value %d came back as another", i)
			}
		}
	})
}
