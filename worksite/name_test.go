package worksite

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"a": "", "acme/api": "", "a.b_c-d/0": "",
		"":                       `"": a worksite's name is not empty`,
		"Acme":                   `"Acme": a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'`,
		"a b":                    `"a b": a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'`,
		"ä":                      `"ä": a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'`,
		"\x1b[2J":                `"\x1b[2J": a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'`,
		"\xff":                   `"\xff": a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'`,
		strings.Repeat("ä", 101): `"` + strings.Repeat("ä", 100) + `…": a worksite's name has at most 200 characters`,
	} {
		got := ""
		if err := CheckName(name); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestCheckSecretName(t *testing.T) {
	for _, good := range []string{"A", "_A", "a1", "DATABASE_URL", "PATHS", "PS5", "Path", "LD", "HOMES", "bash", "GIT_TOKEN", strings.Repeat("A", 200)} {
		if err := CheckSecretName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "1A", "A-B", "A B", "Ä", "A=B", "a[$(id)]", "A\n", "\xff", strings.Repeat("A", 201),
		"PATH", "HOME", "IFS", "SHELL", "ENV", "BASH_ENV", "PROMPT_COMMAND", "PS0", "PS4", "FPATH", "ZDOTDIR", "LD_PRELOAD", "LD_", "DYLD_INSERT_LIBRARIES",
		"GCONV_PATH", "NODE_OPTIONS", "PYTHONSTARTUP", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_COUNT", "LESSOPEN", "KEYRACK_X", "__keyrack_put", "_",
	} {
		err := CheckSecretName(bad)
		if err == nil {
			t.Errorf("%q may be exported", bad)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") || !utf8.ValidString(err.Error()) {
			t.Errorf("%q could act on a terminal", err)
		}
	}
}

func TestFitName(t *testing.T) {
	for from, want := range map[string]string{
		"api": "api", "Acme/API": "acme/api", "My Project (2)": "my-project-2", "--a--b--": "a-b", "/a/": "a", "": "", "日本": "", "...": "", "a\x1b\xffb": "a-b",
		strings.Repeat("ab", 200): strings.Repeat("ab", 100),
	} {
		got := FitName(from)
		if got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
		if got != "" && CheckName(got) != nil {
			t.Errorf("%q fits nothing", got)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"form": "from", "Form": "from", "FROM": "from", "fro": "from", "frmo": "from", "fo": "for", "reqired": "required", "require": "required",
		"desc": "description", "de": "", "x": "", "": "", "value": "", "evn": "env", "tll": "ttl", "confrim": "confirm", "defualt": "default", strings.Repeat("from", 10000): "",
	} {
		if got := nearest(word, secretKeys); got != want {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
}
