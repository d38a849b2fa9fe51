package programs

import (
	"slices"
	"strings"
)

// wrapper is a program that starts the command which its words end in: one row a
// program. Options that are not in its row are not understood, also those that start
// something else, such as sudo -s.
type wrapper struct {
	flags   string   // letters of options
	valued  string   // letters of options that have a value, in the same word or the next
	long    []string // long options; one that ends in "=" has a value, in the same word or the next
	before  int      // words between the options and the command
	assigns bool     // NAME=VALUE may stand there as well
	numbers bool     // -5 is an option
}

var wrappers = map[string]wrapper{
	"sudo": {flags: "ABbEHknPS", valued: "CDghpRrTtUu", assigns: true, long: []string{
		"askpass", "background", "non-interactive", "preserve-env", "preserve-env=", "set-home", "stdin",
		"chdir=", "close-from=", "group=", "host=", "prompt=", "user="}},
	"doas":    {flags: "n", valued: "Cu"},
	"env":     {flags: "i", valued: "Cu", assigns: true, long: []string{"ignore-environment", "chdir=", "unset="}},
	"nice":    {valued: "n", numbers: true, long: []string{"adjustment="}},
	"ionice":  {flags: "t", valued: "cn", long: []string{"class=", "classdata=", "ignore"}},
	"nohup":   {},
	"setsid":  {flags: "cfw", long: []string{"ctty", "fork", "wait"}},
	"stdbuf":  {valued: "eio", long: []string{"error=", "input=", "output="}},
	"time":    {flags: "apqv", valued: "fo"},
	"timeout": {flags: "v", valued: "ks", before: 1, long: []string{"foreground", "kill-after=", "preserve-status", "signal=", "verbose"}},
	"xargs": {flags: "0oprtx", valued: "adEILnPs", long: []string{
		"arg-file=", "delimiter=", "exit", "interactive", "max-args=", "max-chars=", "max-lines=", "max-procs=", "no-run-if-empty", "null",
		"open-tty", "replace=", "verbose"}},
}

// command is what stands behind the wrapper's own words. Not ok: there is a word
// that is not understood.
func (w wrapper) command(words []string) (rest []string, ok bool) {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		word := words[0]
		words = words[1:]
		if word == "--" {
			break
		}
		takes, ok := w.option(word)
		if !ok || takes > len(words) {
			return nil, false
		}
		words = words[takes:]
	}
	for w.assigns && len(words) > 0 && strings.Contains(words[0], "=") {
		words = words[1:]
	}
	if len(words) < w.before {
		return nil, len(words) == 0
	}
	return words[w.before:], true
}

// option says how many of the next words belong to an option.
func (w wrapper) option(word string) (takes int, ok bool) {
	if name, is := strings.CutPrefix(word, "--"); is {
		name, _, joined := strings.Cut(name, "=")
		for _, known := range w.long {
			switch {
			case known == name && !joined:
				return 0, true
			case known == name+"=" && joined:
				return 0, true
			case known == name+"=" && !w.has(name):
				return 1, true
			}
		}
		return 0, false
	}
	letters := word[1:]
	if w.numbers && strings.Trim(letters, "-0123456789") == "" && letters != "" {
		return 0, true
	}
	for i, letter := range letters {
		switch {
		case strings.ContainsRune(w.valued, letter):
			if i+1 < len(letters) {
				return 0, true
			}
			return 1, true
		case !strings.ContainsRune(w.flags, letter):
			return 0, false
		}
	}
	return 0, letters != ""
}

// has says whether the long option stands without a value, too.
func (w wrapper) has(name string) bool { return slices.Contains(w.long, name) }
