package testscripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// block is one fenced block of the README: its language and its lines.
type block struct {
	language string
	lines    []string
}

func readmeBlocks(t interface{ Fatal(...any) }) []block { return blocksOf(t, "../README.md") }

func blocksOf(t interface{ Fatal(...any) }, file string) []block {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			blocks = append(blocks, block{language: language})
			inside = true
		case fence:
			inside = false
		case inside:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line)
		}
	}
	return blocks
}

// cmdReadme types each line of the README's console blocks, after "$ ", into the
// open shell and compares what it shows with what the README shows after it. A …
// there stands for anything.
func cmdReadme(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	typed := 0
	for _, b := range readmeBlocks(fatalf{ts}) {
		if b.language != "console" {
			continue
		}
		for i := 0; i < len(b.lines); {
			line, ok := strings.CutPrefix(b.lines[i], "$ ")
			if !ok {
				ts.Fatalf("README: %q follows no command", b.lines[i])
			}
			var want []string
			for i++; i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ "); i++ {
				want = append(want, b.lines[i])
			}
			shown, err := w.terminal(ts).line(line, w.variant.family)
			w.show(ts, shown)
			ts.Check(err)
			pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(want, "\n")), "…", ".*")
			if !regexp.MustCompile("^" + pattern + "$").MatchString(strings.TrimRight(shown, "\n")) {
				ts.Fatalf("README: %s\nshows\n%s\nnot\n%s", line, mask(shown), strings.Join(want, "\n"))
			}
			typed++
		}
	}
	if typed < 10 {
		ts.Fatalf("README: only %d commands in console blocks", typed)
	}
}

// fatalf lets readmeBlocks fail a script.
type fatalf struct{ ts *testscript.TestScript }

func (f fatalf) Fatal(args ...any) { f.ts.Fatalf("%v", args...) }

// The file that the README shows is one that allow takes.
func TestReadmeWorksite(t *testing.T) {
	found := false
	for _, b := range readmeBlocks(t) {
		if b.language != "toml" {
			continue
		}
		found = true
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/.keyrack.toml", []byte(strings.Join(b.lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(filepath.Join(binDir, "keyrack"), "allow")
		c.Dir, c.Env = dir, []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "PATH=" + os.Getenv("PATH")}
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("allow: %v: %s", err, out)
		}
	}
	if !found {
		t.Error("the README shows no worksite file")
	}
}

// What docs/editors.md shows of tasks and make is what editors_run.txtar runs.
func TestEditorsShown(t *testing.T) {
	script, err := os.ReadFile("testdata/script/editors_run.txtar")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, b := range blocksOf(t, "../docs/editors.md") {
		if b.language != "json" && b.language != "make" {
			continue
		}
		compared++
		if !strings.Contains(string(script), "\n"+strings.Join(b.lines, "\n")+"\n") {
			t.Errorf("editors_run.txtar does not have\n%s", strings.Join(b.lines, "\n"))
		}
	}
	if compared != 2 {
		t.Errorf("docs/editors.md shows %d blocks of JSON and make, not 2", compared)
	}
}

// The first of the two commands of the README, as it stands there. The second is
// what runs these tests.
func TestReadmeDemo(t *testing.T) {
	const command = "go run ./cmd/keyrack demo"
	found := false
	for _, b := range readmeBlocks(t) {
		found = found || b.language == "sh" && strings.Contains(strings.Join(b.lines, "\n"), command) && strings.Contains(strings.Join(b.lines, "\n"), "./testscripts/run")
	}
	if !found {
		t.Fatal("the README does not show the two commands")
	}
	c := exec.Command("sh", "-c", command)
	c.Dir = ".."
	c.Env = append(os.Environ(), "SHELL=/bin/bash")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{"a child of the shell has demo-", "outside again: no TOKEN", "that was all of it"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
}

// Each command that the README lists is one, and none is missing.
func TestReadmeListsCommands(t *testing.T) {
	c := exec.Command(filepath.Join(binDir, "keyrack"), "--help")
	help, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) {2,}\S`).FindAllStringSubmatch(string(help), -1)
	if len(commands) < 10 {
		t.Fatalf("help lists %d commands", len(commands))
	}
	_, list, _ := strings.Cut(string(text), "\n## Commands\n")
	list, _, _ = strings.Cut(list, "\n## ")
	listed := regexp.MustCompile("(?m)^\\| `keyrack ([a-z]+)").FindAllStringSubmatch(list, -1)
	names := map[string]bool{}
	for _, l := range listed {
		names[l[1]] = true
	}
	for _, command := range commands {
		if !names[command[1]] {
			t.Errorf("the README does not list keyrack %s", command[1])
		}
		delete(names, command[1])
	}
	for name := range names {
		t.Errorf("the README lists keyrack %s, which there is not", name)
	}
}
