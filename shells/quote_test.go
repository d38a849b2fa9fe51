package shells

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// programs are the real shells that evaluate what is quoted for a family, with
// the arguments that make them run the next one as code.
var programs = map[Shell][][]string{
	Bash: {{"bash", "-c"}, {"bash", "--posix", "-c"}, {"bash51", "-c"}, {"bash53", "-c"}},
	Zsh:  {{"zsh", "-fc"}, {"zsh", "-f", "-o", "rc_quotes", "-o", "ksh_arrays", "-o", "sh_word_split", "-o", "extended_glob", "-c"}},
	Fish: {{"fish3", "--no-config", "-c"}, {"fish4", "--no-config", "-c"}},
}

// program is the path of a shell: of the cache that testscripts/install fills, or PATH.
func program(t testing.TB, name string) string {
	t.Helper()
	cache := os.Getenv("KEYRACK_TEST_SHELLS")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "keyrack-test-shells")
	}
	if own := filepath.Join(cache, "bin", name); exec.Command(own, "--version").Run() == nil {
		return own
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("no %s here: run testscripts/run, which installs the shells", name)
	}
	return path
}

// everyByte is each byte that a variable can hold.
func everyByte() []byte {
	var all []byte
	for b := 1; b < 256; b++ {
		all = append(all, byte(b))
	}
	return all
}

// hardValues are those at which quoting goes wrong.
var hardValues = [][]byte{
	nil, []byte(" "), []byte("'"), []byte("''"), []byte("'''x'"), []byte(`\`), []byte(`\\`), []byte(`a\`), []byte(`\'`), []byte(`'\`),
	[]byte("$(touch pwned)"), []byte("`touch pwned`"), []byte("${HOME}"), []byte("$((1+1))"), []byte("!!"), []byte("%self"), []byte("=ls"),
	[]byte("~"), []byte("*"), []byte("a b  c"), []byte("a\nb\n"), []byte("\n\n"), []byte("\r\n"), []byte("-n"), []byte("--"), []byte("a=b"),
	[]byte("\x1b[31m"), []byte("\xff\xfe"), []byte("caf\xe9"), []byte("é\u2028ü"), []byte("#x"), []byte(";|&<>(){}[]"), []byte("x\x7f"),
	[]byte("@(a|b)"), []byte("\t"), []byte("'\n'"), []byte("\\\n"),
}

// TestQuoteInRealShells has each shell print what each quoted value evaluates to.
func TestQuoteInRealShells(t *testing.T) {
	values := append([][]byte{everyByte(), bytes.Repeat([]byte(`100 kB of '\ `), 8000)}, hardValues...)
	for shell, argvs := range programs {
		code := []byte("printf '%s\\1'")
		for _, v := range values {
			code = shell.appendQuoted(append(code, ' '), v)
			code = shell.appendWord(append(code, ' '), v)
		}
		want := append(bytes.Join(twice(values), []byte{1}), 1)
		for _, argv := range argvs {
			t.Run(strings.Join(argv, " "), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "code")
				if err := os.WriteFile(file, append(code, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
				argv := append(append([]string{}, argv...), "source "+file)
				if shell == Bash {
					argv[len(argv)-1] = ". " + file
				}
				cmd := exec.Command(program(t, argv[0]), argv[1:]...)
				cmd.Dir, cmd.Env = t.TempDir(), []string{"HOME=" + t.TempDir(), "LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
				got, err := cmd.Output()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("printed %d bytes, want %d; they differ from byte %d on", len(got), len(want), differ(got, want))
				}
				if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
					t.Error("a value was run as code")
				}
			})
		}
	}
}

func twice(values [][]byte) (all [][]byte) {
	for _, v := range values {
		all = append(all, v, v)
	}
	return all
}

// What bash reads by the number of its characters has as many as bytes, and no more
// than was made room for.
func TestRenderSizes(t *testing.T) {
	for _, v := range append([][]byte{everyByte()}, hardValues...) {
		c := Change{Put: []Var{{"A", v}}, Say: []string{string(v)}, Commands: string(v), Status: string(v), Generation: string(v), Mode: string(v), Summary: string(v)}
		for shell := range programs {
			code := shell.Render(c)
			if len(code) > shell.Size(c) {
				t.Errorf("%s: %d bytes of code for %q, room for %d", shell, len(code), v, shell.Size(c))
			}
			if shell == Bash && bytes.ContainsFunc(code, func(r rune) bool { return r >= utf8.RuneSelf }) {
				t.Errorf("not ASCII: %s", code)
			}
		}
	}
}

// What is plain needs no room for quoting: an answer that fits a pipe is to go into it.
func TestPlainTextNeedsItsLength(t *testing.T) {
	c := Change{Put: []Var{{"A", bytes.Repeat([]byte("x"), 50000)}}}
	for shell := range programs {
		if size := shell.Size(c); size > 51000 {
			t.Errorf("%s: room for %d bytes", shell, size)
		}
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestQuoteEndsAtNUL(t *testing.T) {
	for shell := range programs {
		if got := string(shell.Quote([]byte("a\x00$(b)"))); got != "'a'" {
			t.Errorf("%s: %s", shell, got)
		}
	}
}

// FuzzQuote holds that a quoted value is one word with the value's bytes: by the
// parser of mvdan.cc/sh for bash, and by fish's two rules for fish.
func FuzzQuote(f *testing.F) {
	for _, v := range append(hardValues, everyByte()) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		if bytes.IndexByte(v, 0) >= 0 || bytes.IndexByte(v, '\r') >= 0 { // mvdan.cc/sh drops \r\n, bash does not
			return
		}
		if got := Bash.Quote(v); utf8.Valid(v) && unquoteBash(t, got) != string(v) { // it refuses what is no UTF-8
			t.Errorf("bash: %d bytes do not come back", len(v))
		}
		if got, ok := unquoteFish(Fish.Quote(v)); !ok || !bytes.Equal(got, v) {
			t.Errorf("fish: %d bytes come out of %d", len(got), len(v))
		}
	})
}

func unquoteBash(t *testing.T, quoted []byte) string {
	t.Helper()
	file, err := syntax.NewParser().Parse(bytes.NewReader(append([]byte("x "), quoted...)), "")
	if err != nil {
		t.Fatalf("does not parse: %v", err)
	}
	call, ok := file.Stmts[0].Cmd.(*syntax.CallExpr)
	if len(file.Stmts) != 1 || !ok || len(call.Args) != 2 {
		t.Fatal("more than one word")
	}
	fields, err := expand.Fields(nil, call.Args[1])
	if err != nil || len(fields) != 1 {
		t.Fatalf("%d fields, %v", len(fields), err)
	}
	return fields[0]
}

// unquoteFish reads one string in single quotes, in which a backslash escapes
// itself and the quote (fish documentation, "Quotes").
func unquoteFish(quoted []byte) (value []byte, ok bool) {
	if len(quoted) < 2 || quoted[0] != '\'' || quoted[len(quoted)-1] != '\'' {
		return nil, false
	}
	inner := quoted[1 : len(quoted)-1]
	for i := 0; i < len(inner); i++ {
		switch {
		case inner[i] == '\'':
			return nil, false
		case inner[i] == '\\' && i+1 == len(inner):
			return nil, false
		case inner[i] == '\\':
			i++
		}
		value = append(value, inner[i])
	}
	return value, true
}
