package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// variant is one shell, in one version, with one way of the hook.
type variant struct {
	name    string
	family  string
	program string // name in the cache of shells, or on PATH
	version string // what `program --version` must show
	hook    string // further arguments of `keyrack hook SHELL`
}

var variants = []variant{
	{name: "bash", family: "bash", program: "bash", version: "version 5."},
	{name: "bash-debug", family: "bash", program: "bash", version: "version 5.", hook: "--before debug"},
	{name: "bash51", family: "bash", program: "bash51", version: "version 5.1."},
	{name: "bash53", family: "bash", program: "bash53", version: "version 5.3."},
	{name: "zsh", family: "zsh", program: "zsh", version: "zsh 5."},
	{name: "zsh-client", family: "zsh", program: "zsh", version: "zsh 5.", hook: "--client"},
	{name: "fish3", family: "fish", program: "fish3", version: "version 3."},
	{name: "fish4", family: "fish", program: "fish4", version: "version 4."},
}

// shellsDir is where testscripts/run puts the shells that the system does not have.
func shellsDir() string {
	if dir := os.Getenv("KEYRACK_TEST_SHELLS"); dir != "" {
		return dir
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "keyrack-test-shells")
}

// path is the variant's program, "" where it is not to be had.
func (v variant) path() string {
	if v.program == "" {
		return ""
	}
	own := filepath.Join(shellsDir(), "bin", v.program)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	plain, err := exec.LookPath(v.program)
	if err != nil {
		return ""
	}
	return plain
}

func (v variant) check() error {
	path := v.path()
	if path == "" {
		return fmt.Errorf("no %s here: run testscripts/run, which installs the shells, or choose others with KEYRACK_SHELLS=bash,zsh,…", v.program)
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", path, err)
	}
	if !strings.Contains(string(out), v.version) {
		return fmt.Errorf("%s is not %q", path, v.version)
	}
	return nil
}

// chosenVariants are all, or for a developer in a hurry those of KEYRACK_SHELLS=bash,fish4.
func chosenVariants(t *testing.T) []variant {
	only := os.Getenv("KEYRACK_SHELLS")
	if only == "" {
		return variants
	}
	var chosen []variant
	for name := range strings.SplitSeq(only, ",") {
		before := len(chosen)
		for _, v := range variants {
			if v.name == name {
				chosen = append(chosen, v)
			}
		}
		if len(chosen) == before {
			t.Fatalf("KEYRACK_SHELLS: no variant is called %q", name)
		}
	}
	return chosen
}
