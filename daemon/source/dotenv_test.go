package source

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestParseDotenv(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"# c\n\n  \t\n  # c":              "",
		"A=1":                             "A=1",
		"A=1\nB=2\n":                      "A=1|B=2",
		"\ufeffA=1\r\nB='2'\r\n":          "A=1|B=2",
		"export A=1\n\texport\tB = 2  ":   "A=1|B=2",
		"export=1":                        "export=1",
		"A = a b  c \t# d":                "A=a b  c",
		"A=":                              "A=",
		"A= # c":                          "A=",
		"A=''":                            "A=",
		`A=""`:                            "A=",
		"A=x==":                           "A=x==",
		"A=p@:/?&;|!~*(<>)%":              "A=p@:/?&;|!~*(<>)%",
		"A='a # $b `c` \"d\" \\n' # '":    "A=a # $b `c` \"d\" \\n",
		"A='a\nb\n'\nB=1":                 "A=a\nb\n|B=1",
		"A=\"a\nb # c\n\" #\nB=2":         "A=a\nb # c\n|B=2",
		`A="a\nb\rc\"d\\e\$f'g"`:          "A=a\nb\rc\"d\\e$f'g",
		"A=\"a\r\nb\"":                    "A=a\nb",
		"A=1\nA=1":                        "A=1",
		"A=é\xff":                         "A=é\xff",
		"A=1\n#B=2\nC=\"3\"\n":            "A=1|C=3",
		"A=\"-----BEGIN-----\nx\n-----\"": "A=-----BEGIN-----\nx\n-----",
	} {
		vars, err := ParseDotenv([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var got []string
		for _, v := range vars {
			got = append(got, v.Name+"="+string(v.Value))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDotenvRefused(t *testing.T) {
	const (
		line   = "a line is NAME=value, NAME made of A-Z, a-z, 0-9 and _"
		quote  = "programs don't agree on what this character means here: put the value in '…'"
		escape = "programs don't agree on what this backslash means here: use keyrack set for this value"
		after  = "nothing but a comment, after a blank, may follow the closing quote"
		open   = "this quote is never closed"
	)
	for text, want := range map[string]string{
		"hunter2":                     "1:1: " + line,
		"A=1\n  hunter2 x":            "2:3: " + line,
		"=hunter2":                    "1:1: " + line,
		"export A":                    "1:8: " + line,
		"export =hunter2":             "1:8: " + line,
		"a-b=hunter2":                 "1:1: " + line,
		"A: hunter2":                  "1:1: " + line,
		"1A=hunter2":                  "1:1: a name begins with no digit",
		"A=hunter2#x":                 "1:10: " + quote,
		"A=#hunter2":                  "1:3: " + quote,
		"A=hunter2$x":                 "1:10: " + quote,
		"A=hun\"ter2\"":               "1:6: " + quote,
		"A=hun'ter2":                  "1:6: " + quote,
		"A=`hunter2`":                 "1:3: " + quote,
		"A=hunter2\\n":                "1:10: " + quote,
		"A=\"hunter2$x\"":             "1:11: " + quote,
		"B=1\nA=\"é\nhunter2`x\"":     "3:8: " + quote,
		"A=\"hunter2\\t\"":            "1:11: " + escape,
		"A=\"hunter2\\\n\"":           "1:11: " + escape,
		"A='hunter2\\'":               "1:11: " + escape,
		"A=\"hunter2":                 "1:3: " + open,
		"A=\"hunter2\\\"":             "1:3: " + open,
		"A=\"hunter2\\":               "1:11: " + escape,
		"B=1\nA='hunter2":             "2:3: " + open,
		"A='hunter2' x":               "1:13: " + after,
		"A='hunter2'#x":               "1:12: " + after,
		"A=\"hunter2\"x":              "1:12: " + after,
		"A=hunter2\nB=1\nA='hunter3'": "3:1: A stands here again, with another value",
		"A=hun\x00ter2":               "1:1: A holds a NUL byte, which no variable can",
	} {
		vars, err := ParseDotenv([]byte(text))
		if err == nil || err.Error() != want || vars != nil {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// What is taken means to a shell what it means here, wherever a shell takes it
// too: blanks around = and between words are other programs' habit, and \n.
func TestDotenvIsWhatShellsRead(t *testing.T) {
	texts := []string{
		"A=1", "A=x==", "export A='a # $b `c` \"d\" \\n'", "A='a\nb\n'", "A=\"a\nb # c\" # d", `A="c\"d\\e\$f'g"`, "A=a@:/?%,.+ # c", "A=", "A=é",
	}
	for _, text := range texts {
		vars, err := ParseDotenv([]byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		out, err := exec.Command("bash", "-c", text+"\nprintf %s \"$A\"").Output()
		if err != nil || len(vars) != 1 || string(out) != string(vars[0].Value) {
			t.Errorf("%q: bash reads %q (%v), not %q", text, out, err, vars)
		}
	}
}

// FuzzDotenv holds that a value that is written in single quotes is read as it is,
// and that no text panics or leaves a value in an error.
func FuzzDotenv(f *testing.F) {
	for _, seed := range []string{"", "A=1 # c\nexport B=\"x\\n\"", "A='a\nb'\r\n", "A=$x", "\ufeffA=\"\\", "export", "export ="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		given := bytes.Clone(text)
		_, err := ParseDotenv(text)
		if !bytes.Equal(text, given) {
			t.Fatal("the text was changed")
		}
		if err != nil && strings.Contains(err.Error(), marker) && !bytes.Contains(text, []byte(marker+"=")) && !bytes.Contains(text, []byte(marker+" ")) && !bytes.Contains(text, []byte(marker+"\t")) {
			t.Fatalf("%q has a value", err)
		}
		if bytes.ContainsAny(text, "'\x00\r") || bytes.HasSuffix(text, []byte(`\`)) {
			return
		}
		vars, err := ParseDotenv([]byte("X=1\nA='" + string(text) + "' # c\nB=2"))
		if err != nil || len(vars) != 3 || !bytes.Equal(vars[1].Value, text) {
			t.Fatalf("%q: %q, %v", text, vars, err)
		}
	})
}

const marker = "hunter2"
