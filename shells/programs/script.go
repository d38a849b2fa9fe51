package programs

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// shellNames are the shells whose scripts are understood.
var shellNames = map[string]syntax.LangVariant{"sh": syntax.LangPOSIX, "dash": syntax.LangPOSIX, "bash": syntax.LangBash, "ksh": syntax.LangMirBSDKorn}

// script is the text that a shell runs, and the language that it is in.
type script struct {
	text     string
	language syntax.LangVariant
}

// scriptOf is the script in the words of a shell that is started with -c. Not ok: the
// shell has other options, such as those of a login shell, which reads more.
func scriptOf(name string, words []string) (s script, is, ok bool) {
	language, is := shellNames[name]
	if !is {
		return s, false, false
	}
	has := false
	for len(words) > 0 && len(words[0]) > 1 && (words[0][0] == '-' || words[0][0] == '+') {
		if strings.Trim(words[0][1:], "ceufx") != "" {
			return s, true, false
		}
		has = has || words[0][0] == '-' && strings.Contains(words[0], "c")
		words = words[1:]
	}
	switch {
	case !has: // a file, which is an argument like any other
		return s, false, false
	case len(words) == 0 || words[0] == dynamic:
		return s, true, false
	}
	return script{words[0], language}, true, true
}

// harmless are the builtins of a shell that start no program.
const harmless = " : true false echo printf test [ cd pwd pushd popd dirs read export unset local declare typeset readonly shift exit return break" +
	" continue wait set shopt umask ulimit type times getopts let mapfile readarray jobs bg fg kill disown "

// unclear are those that run what can't be seen, or change what a word means.
const unclear = " eval source . trap alias builtin enable hash fc bind complete "

// inScript are the programs that a script starts.
func inScript(s script) (started [][]string, ok bool) {
	file, err := syntax.NewParser(syntax.Variant(s.language)).Parse(strings.NewReader(s.text), "")
	if err != nil {
		return nil, false
	}
	ok = true
	syntax.Walk(file, func(node syntax.Node) bool {
		switch node := node.(type) {
		case *syntax.FuncDecl: // then a word may mean it
			ok = false
		case *syntax.CallExpr:
			if more, clear := ofCall(node.Args); clear {
				started = append(started, more...)
			} else {
				ok = false
			}
		}
		return ok
	})
	return started, ok
}

// ofCall are the programs of one simple command.
func ofCall(args []*syntax.Word) (started [][]string, ok bool) {
	var argv []string
	for _, arg := range args {
		argv = append(argv, static(arg))
	}
	for len(argv) > 0 && (argv[0] == "command" || argv[0] == "exec") {
		row := wrapper{flags: "p"}
		if argv[0] == "exec" {
			row = wrapper{flags: "cl", valued: "a"}
		}
		if argv, ok = row.command(argv[1:]); !ok {
			return nil, false
		}
	}
	switch {
	case len(argv) == 0, strings.Contains(harmless, " "+argv[0]+" "):
		return nil, true
	case strings.Contains(unclear, " "+argv[0]+" "):
		return nil, false
	}
	return of(argv)
}

// static is the text of a word that is the same whenever the script runs, else dynamic.
func static(word *syntax.Word) string {
	var text strings.Builder
	for _, part := range word.Parts {
		if !literal(&text, part, false) {
			return dynamic
		}
	}
	return text.String()
}

// literal writes what a part of a word says, if that is always the same.
func literal(text *strings.Builder, part syntax.WordPart, quoted bool) bool {
	switch part := part.(type) {
	case *syntax.Lit:
		special := "*?[{~\\"
		if quoted {
			special = "\\"
		}
		if part.Value != "[" && strings.ContainsAny(part.Value, special) {
			return false
		}
		text.WriteString(part.Value)
	case *syntax.SglQuoted:
		if part.Dollar {
			return false
		}
		text.WriteString(part.Value)
	case *syntax.DblQuoted:
		for _, inner := range part.Parts {
			if !literal(text, inner, true) {
				return false
			}
		}
	default:
		return false
	}
	return true
}
