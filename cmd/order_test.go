package cmd

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports are the edges that packages may have (docs/design.md has the picture).
// A package that is not named here has to be thought about first.
var imports = map[string][]string{
	"keyrack/cmd/keyrack":      {"keyrack/cmd"},
	"keyrack/cmd/keyrack-hook": {"keyrack/cmd/client"},
	"keyrack/cmd":              {"keyrack/cmd/client", "keyrack/daemon", "keyrack/daemon/arena", "keyrack/daemon/audit", "keyrack/daemon/harden", "keyrack/daemon/source", "keyrack/daemon/wire", "keyrack/hook", "keyrack/cmd/scan", "keyrack/shells", "keyrack/shells/programs", "keyrack/worksite"},
	"keyrack/cmd/client":       {"keyrack/daemon/wire", "keyrack/hook", "keyrack/shells"},
	"keyrack/cmd/scan":         {"keyrack/daemon/arena"},
	"keyrack/hook":             {"keyrack/daemon/wire", "keyrack/shells"},
	"keyrack/daemon":           {"keyrack/daemon/arena", "keyrack/daemon/audit", "keyrack/daemon/harden", "keyrack/daemon/seal", "keyrack/daemon/source", "keyrack/daemon/wire", "keyrack/worksite"},
	"keyrack/daemon/harden":    {},
	"keyrack/daemon/arena":     {},
	"keyrack/daemon/seal":      {},
	"keyrack/daemon/audit":     {},
	"keyrack/daemon/source":    {"keyrack/daemon/arena", "keyrack/daemon/harden", "keyrack/worksite"},
	"keyrack/daemon/wire":      {},
	"keyrack/shells":           {},
	"keyrack/shells/programs":  {},
	"keyrack/worksite":         {},
	"keyrack/testscripts":      {},
	"keyrack/testscripts/k":    {},
}

func TestPackageOrder(t *testing.T) {
	for line := range strings.Lines(golist(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "keyrack/...")) {
		fields := strings.Fields(line)
		allowed, known := imports[fields[0]]
		if !known {
			t.Errorf("%s is not in the list of packages", fields[0])
		}
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, "keyrack/") && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", fields[0], imported)
			}
		}
	}
}

// What the client links is initialised at every command line: nothing that
// costs at start-up may get in.
func TestClientLinksLittle(t *testing.T) {
	deps := strings.Fields(golist(t, "-deps", "keyrack/cmd/keyrack-hook"))
	for _, heavy := range []string{"fmt", "net", "encoding/json", "regexp", "context", "os/exec", "os/user", "runtime/cgo", "crypto/sha256", "unicode/utf16",
		"github.com/spf13/cobra", "github.com/BurntSushi/toml", "mvdan.cc/sh/v3/syntax", "keyrack/daemon", "keyrack/worksite"} {
		if slices.Contains(deps, heavy) {
			t.Errorf("keyrack-hook links %s", heavy)
		}
	}
}

func golist(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command("go", append([]string{"list"}, args...)...)
	c.Env = append(c.Environ(), "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return string(out)
}
