package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// binDir holds keyrack, keyrack-hook and K, built once for all scripts.
// Each script gets hard links of its own, so that its processes are known by
// their command line.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "keyrack-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binDir = dir
	return m.Run()
}

// build compiles the real programs as a release does: without cgo.
// KEYRACK_TEST_BIN names a directory of finished ones to test instead.
func build(dir string) error {
	packages := map[string]string{"K": "keyrack/testscripts/k"}
	if ready := os.Getenv("KEYRACK_TEST_BIN"); ready != "" {
		for _, name := range []string{"keyrack", "keyrack-hook"} {
			if err := os.Symlink(filepath.Join(ready, name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	} else {
		packages["keyrack"] = "keyrack/cmd/keyrack"
		packages["keyrack-hook"] = "keyrack/cmd/keyrack-hook"
	}
	for name, pkg := range packages {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// TestScript runs the scripts that need no interactive shell.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, params("testdata/script", variant{}, "command"))
}

// TestShell runs each script of testdata/shell in every shell variant, those of
// modes with export = "tree" as well, and those of bash, zsh and fish in the
// variants of that shell.
func TestShell(t *testing.T) {
	for _, v := range chosenVariants(t) {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if err := v.check(); err != nil {
				t.Fatal(err)
			}
			runDir := func(name, dir, mode string) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					testscript.Run(t, params(filepath.Join("testdata/shell", dir), v, mode))
				})
			}
			runDir("all", ".", "command")
			runDir("command", "modes", "command")
			runDir("tree", "modes", "tree")
			runDir(v.family, v.family, "command")
		})
	}
}

func params(dir string, v variant, mode string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return setup(env, v, mode) },
		Condition:           func(cond string) (bool, error) { return condition(cond, v, mode) },
		Cmds:                commands,
	}
}

// condition answers [bash], [zsh], [fish] (the family), the name of a variant
// such as [bash51], the mode: [command] or [tree], and
// [root] where the tests run as root, [landlock] where keyrack sandbox can work,
// [keys] where the kernel keeps keys for this user.
func condition(cond string, v variant, mode string) (bool, error) {
	switch cond {
	case "root":
		return os.Getuid() == 0, nil
	case "keys":
		return hasKeys(), nil
	case "landlock":
		return landlock() >= 3, nil
	case "command", "tree":
		return cond == mode, nil
	case "bash", "zsh", "fish":
		return cond == v.family, nil
	}
	for _, known := range variants {
		if cond == known.name {
			return cond == v.name, nil
		}
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}
