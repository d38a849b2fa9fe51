package shells

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name string
		want Shell
		err  string
	}{
		{"bash", Bash, ""}, {"/bin/zsh", Zsh, ""}, {"-fish", Fish, ""}, {"/opt/homebrew/bin/fish", Fish, ""},
		{"zhs", "", `unknown shell "zhs", did you mean zsh?`},
		{"bsh", "", `unknown shell "bsh", did you mean bash?`},
		{"Bash", "", `did you mean bash?`},
		{"bash-5.2", "", `did you mean bash?`},
		{"tcsh", "", `unknown shell "tcsh", there are bash, zsh, fish`},
		{"", "", `unknown shell ""`},
		{"\x1b[2J", "", `unknown shell "?[2J"`},
	} {
		got, err := Parse(test.name)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("Parse(%q) is %q, %v", test.name, got, err)
		}
	}
}

func TestValidName(t *testing.T) {
	for _, good := range []string{"A", "_A", "DATABASE_URL", "a1", "LDAP_URL", "PATHS", "HOMEPAGE", "Path"} {
		if !ValidName(good) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{"", "1A", "A-B", "A B", "A=B", "a[$(id)]", "A\n", "é", "_", "PATH", "path", "HOME", "IFS", "SHELL", "ENV", "BASH_ENV",
		"PROMPT_COMMAND", "PS0", "PS1", "PS4", "FPATH", "ZDOTDIR", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "NODE_OPTIONS",
		"PYTHONSTARTUP", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_COUNT", "LESSOPEN", "KEYRACK_X", "__keyrack_bin"} {
		if ValidName(bad) {
			t.Errorf("%q is allowed", bad)
		}
	}
}

// The scripts refuse the same names as ValidName, each in its own language.
func TestScriptsRefuseTheSameNames(t *testing.T) {
	for _, name := range Names() {
		script := Shell(name).Script()
		for refused := range strings.FieldsSeq(refusedNames) {
			if !regexp.MustCompile(`(?m)(^|[\s'"])` + refused + `($|[\s'"])`).MatchString(script) {
				t.Errorf("hook.%s does not refuse %s", name, refused)
			}
		}
		for _, prefix := range refusedPrefixes {
			if !strings.Contains(script, prefix) {
				t.Errorf("hook.%s does not refuse %s…", name, prefix)
			}
		}
	}
}

func TestRender(t *testing.T) {
	c := Change{
		Put:    []Var{{"A", []byte("it's")}, {"PATH", []byte("/evil")}, {"B;id", []byte("x")}, {"B", nil}},
		Say:    []string{"a line with 'quotes'"},
		Status: "ok", Generation: "g1", Mode: "command", Summary: "acme/api: 2 secrets for 8h",
	}
	for shell, want := range map[Shell]string{
		Bash: "__keyrack_put A 'it'\\''s' B ''\n__keyrack_say 'a line with '\\''quotes'\\'\n" +
			"__keyrack_end 'ok' 'g1' 'command' 'acme/api: 2 secrets for 8h'\n",
		Fish: "__keyrack_put A 'it\\'s'\n__keyrack_put B ''\n__keyrack_say 'a line with \\'quotes\\''\n" +
			"__keyrack_end 'ok' 'g1' 'command' 'acme/api: 2 secrets for 8h'\n",
	} {
		if got := string(shell.Render(c)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", shell, got, want)
		}
	}
	if got, want := string(Zsh.Render(c)), strings.Replace(string(Bash.Render(c)), " B ''", "\n__keyrack_put B ''", 1); got != want {
		t.Errorf("zsh renders otherwise than bash:\n%s", got)
	}
}

// syntaxCheck is how each shell parses a file without running it.
var syntaxCheck = map[Shell][][]string{
	Bash: {{"bash", "-n"}, {"bash51", "-n"}, {"bash53", "-n"}},
	Zsh:  {{"zsh", "-fn"}},
	Fish: {{"fish3", "-n"}, {"fish4", "-n"}},
}

// The hook, with its prelude and without, and what takes it out again, parse.
func TestScriptsParse(t *testing.T) {
	p := Prelude{Bin: "/a b/keyrack-hook", Socket: "/it's/keyrack.sock", Generation: "/run/generation\n", Before: "debug", Client: true}
	for shell, argvs := range syntaxCheck {
		for name, text := range map[string]string{"script": shell.Script(), "hook": shell.Prelude(p) + shell.Script(), "off": shell.Off()} {
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, argv := range argvs {
				if out, err := exec.Command(program(t, argv[0]), argv[1], file).CombinedOutput(); err != nil {
					t.Errorf("%s of %s in %s: %v: %s", name, shell, argv[0], err, out)
				}
			}
		}
	}
}

// Where a shell is not interactive, the hook does nothing and leaves nothing, and so does what takes it out.
func TestScriptLeavesNothingInScripts(t *testing.T) {
	p := Prelude{Bin: "/nonexistent", Socket: "/nonexistent", Generation: "/nonexistent"}
	list := map[Shell]string{
		Bash: "compgen -A function keyrack; compgen -A function __keyrack; compgen -v __keyrack; :",
		Zsh:  "print -l ${(k)functions[(I)*keyrack*]} ${(k)parameters[(I)*keyrack*]}",
		Fish: "functions -an | string match '*keyrack*'; set -n | string match '*keyrack*'; true",
	}
	for shell, argvs := range programs {
		for _, argv := range argvs {
			file := filepath.Join(t.TempDir(), "hook")
			text := shell.Prelude(p) + shell.Script() + "\n" + shell.Off() + list[shell] + "\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			argv := append(append([]string{}, argv...), ". "+file)
			if shell == Fish {
				argv[len(argv)-1] = "source " + file
			}
			cmd := exec.Command(program(t, argv[0]), argv[1:]...)
			cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
			out, err := cmd.CombinedOutput()
			if text := strings.TrimSpace(string(out)); err != nil || text != "" {
				t.Errorf("%s: %v: %s", strings.Join(argv, " "), err, text)
			}
		}
	}
}
