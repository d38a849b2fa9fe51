package shells

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// All of the zsh hook is one quoted word, which "zsh -n" does not look into.
func TestZshQuotedPartParses(t *testing.T) {
	script := Zsh.Script()
	_, quoted, found := strings.Cut(script, "'-c' '\n")
	quoted, ended := strings.CutSuffix(quoted, "'\n")
	if !found || !ended {
		t.Fatal("the hook is no longer one word after -c")
	}
	if i := strings.IndexByte(quoted, '\''); i >= 0 {
		t.Fatalf("a single quote ends the word: %q", quoted[i:min(i+40, len(quoted))])
	}
	file := filepath.Join(t.TempDir(), "quoted")
	if err := os.WriteFile(file, []byte(quoted), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program(t, "zsh"), "-fn", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
