// Package shells holds what differs between bash, zsh and fish: their hook
// scripts, how a value is quoted, and how a change is put into shell code.
//
// It decides nothing about secrets. It depends on the standard library's
// smallest parts alone, because the program that a shell starts before each
// command line links it.
package shells

import (
	_ "embed"
	"errors"
	"strings"
)

// Shell is a shell that keyrack has a hook for.
type Shell string

const (
	Bash Shell = "bash"
	Zsh  Shell = "zsh"
	Fish Shell = "fish"
)

//go:embed hook.bash
var hookBash string

//go:embed hook.zsh
var hookZsh string

//go:embed hook.fish
var hookFish string

// row is all that is known of one shell.
type row struct {
	shell  Shell
	script *string
	assign string // before the name of a variable
	equals string // between name and value
	off    string
}

// The forms of off do nothing, without an error, where there is no hook, and
// hold no word that an alias could take.
var rows = []row{
	{Bash, &hookBash, "", "=", `\builtin declare -F __keyrack_off >/dev/null && __keyrack_off || \builtin true`},
	{Zsh, &hookZsh, "", "=", `(( ${+functions[__keyrack_off]} )) && __keyrack_off || \builtin true`},
	{Fish, &hookFish, "set -g ", " ", `builtin functions -q __keyrack_off; and __keyrack_off; or builtin true`},
}

// Names lists the shells in the order in which help texts show them.
func Names() []string {
	var names []string
	for _, r := range rows {
		names = append(names, string(r.shell))
	}
	return names
}

// Parse takes a shell's name, or the path of its program. Its error says
// which names there are, or which one was meant.
func Parse(name string) (Shell, error) {
	base := strings.TrimPrefix(name[strings.LastIndexByte(name, '/')+1:], "-")
	for _, r := range rows {
		if base == string(r.shell) {
			return r.shell, nil
		}
	}
	for _, r := range rows {
		if base != "" && strings.Contains(strings.ToLower(base), string(r.shell)) || close(base, string(r.shell)) {
			return "", errors.New("unknown shell " + printable(name) + ", did you mean " + string(r.shell) + "?")
		}
	}
	return "", errors.New("unknown shell " + printable(name) + ", there are " + strings.Join(Names(), ", "))
}

// close reports whether one letter was added, dropped or changed, or two neighbours swapped.
func close(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return a[min(i+1, len(a)):] == b[min(i+1, len(b)):] ||
			i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}

// printable keeps a name from moving the cursor of who reads the error.
func printable(name string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd {
			return '?'
		}
		return r
	}, name) + `"`
}

func (s Shell) row() row {
	for _, r := range rows {
		if r.shell == s {
			return r
		}
	}
	panic("shells: not made by Parse: " + printable(string(s)))
}

// Script is the hook as it stands in its file.
func (s Shell) Script() string { return *s.row().script }

// Off is code that takes the hook out of a running shell, and does nothing where there is none.
func (s Shell) Off() string { return s.row().off + "\n" }

// Prelude is what a hook script must know of the installation.
type Prelude struct {
	Bin        string // the program that serves the hook: keyrack-hook, else keyrack
	Socket     string
	Generation string // the file that changes whenever the daemon's answer could differ
	Before     string // bash: force how a command line is preceded: "debug", "ps0", "ps5.3"; "" finds out
	Client     bool   // zsh: use Bin even where the shell could ask by itself
}

// Prelude is code of assignments that stands before the script.
func (s Shell) Prelude(p Prelude) string {
	var text strings.Builder
	assign := func(name, value string) {
		r := s.row()
		text.WriteString(r.assign + "__keyrack_" + name + r.equals + s.QuoteString(value) + "\n")
	}
	assign("bin", p.Bin)
	assign("socket", p.Socket)
	assign("generation_file", p.Generation)
	if p.Before != "" {
		assign("before", p.Before)
	}
	if p.Client {
		assign("use_client", "1")
	}
	return text.String()
}
