// Package programs tells which programs a command starts, as far as its words say:
// through sudo, env, xargs and their like, and in the script of sh -c, which is
// parsed. A secret that is for some commands alone goes to a command that starts
// nothing else.
//
// It narrows what is given by intention. It is no boundary: what a program starts by
// itself can't be seen from its words, and any process of the user can say that it
// is another.
package programs

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// dynamic stands for a word of a script that is known only when the script runs. It
// is no word that a command could have.
const dynamic = "\x00"

// All says whether argv, run in the directory dir, starts at least one program, and
// none but those that prefixes name. A prefix is the first words of a command,
// parted by blanks; one whose first word has a slash names a file, relative to root.
// A command whose programs can't be told from its words is not among them.
func All(argv, prefixes []string, root, dir string) bool {
	started, ok := of(argv)
	return ok && len(started) > 0 && !slices.ContainsFunc(started, func(program []string) bool {
		return !slices.ContainsFunc(prefixes, func(prefix string) bool {
			return named(program, strings.Fields(prefix), root, dir)
		})
	})
}

// named says whether program begins with the words of prefix.
func named(program, prefix []string, root, dir string) bool {
	return len(prefix) > 0 && len(program) >= len(prefix) &&
		slices.Equal(program[1:len(prefix)], prefix[1:]) && same(program[0], prefix[0], root, dir)
}

// same says whether the word of a command starts the program that a prefix means.
func same(word, meant, root, dir string) bool {
	switch {
	case strings.Contains(meant, "/"):
		return strings.Contains(word, "/") && absolute(word, dir) == absolute(meant, root)
	case strings.Contains(word, "/"):
		path, err := exec.LookPath(meant)
		return err == nil && absolute(word, dir) == path
	}
	return word == meant
}

func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// of are the programs that argv starts. Not ok: its words don't tell.
func of(argv []string) (started [][]string, ok bool) {
	if len(argv) == 0 || argv[0] == dynamic {
		return nil, false
	}
	name := filepath.Base(argv[0])
	if row, is := wrappers[name]; is {
		rest, ok := row.command(argv[1:])
		switch {
		case !ok:
			return nil, false
		case len(rest) == 0: // env alone prints what it has
			return [][]string{argv}, true
		}
		return of(rest)
	}
	if script, is, ok := scriptOf(name, argv[1:]); is {
		if !ok {
			return nil, false
		}
		return inScript(script)
	}
	return [][]string{argv}, true
}
