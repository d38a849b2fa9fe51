package worksite

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"
)

// A source may be a command of the worksite's own. In the file it is a table:
//
//	from = { exec = ["./scripts/token", "api"], value = "/token", expiry = "/expires_in" }
//
// and as a text, for people and in Secret.From, its argv in JSON, with the two
// pointers after it: exec:["./scripts/token","api"]#/token#/expires_in.

const (
	execScheme = "exec"
	execForm   = `exec:["COMMAND", "ARG"], or that with #/value, or #/value#/expiry, in the JSON that it writes`
)

var execKeys = []string{"exec", "value", "expiry"}

// Argv is the command of a source of the kind exec, nil of any other.
func (s Source) Argv() (argv []string) {
	if s.Scheme != execScheme || json.Unmarshal([]byte(s.Path), &argv) != nil {
		return nil
	}
	return argv
}

// Pointers are where, in the output of an exec source, the value stands, and what
// tells of its end: "" for the whole output, and for nothing.
func (s Source) Pointers() (value, expiry string) {
	value, expiry, _ = strings.Cut(s.Field, "#")
	return value, expiry
}

// parseExec reads what stands after exec:.
func parseExec(rest string) (Source, error) {
	wrong := errors.New("such a source is written " + execForm)
	var words []*string // a null is none
	d := json.NewDecoder(strings.NewReader(rest))
	if !strings.HasPrefix(rest, "[") || d.Decode(&words) != nil {
		return Source{}, wrong
	}
	rest = rest[d.InputOffset():]
	var argv []string
	for _, word := range words {
		if word == nil {
			return Source{}, wrong
		}
		argv = append(argv, *word)
	}
	if problem := argvProblem(argv); problem != "" {
		return Source{}, errors.New(problem)
	}
	field, more := strings.CutPrefix(rest, "#")
	value, expiry, both := strings.Cut(field, "#")
	if !more && rest != "" || more && !pointer(value) || both && !pointer(expiry) || strings.Contains(expiry, "#") {
		return Source{}, wrong
	}
	return Source{Scheme: execScheme, Path: argvText(argv), Field: field}, nil
}

// argvText is argv in JSON, as short as it can be written.
func argvText(argv []string) string {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	_ = e.Encode(argv) // strings always can be
	return strings.TrimSuffix(text.String(), "\n")
}

// SourceWords is a source for people, "rack" for "". A command, whose words stand in
// quotes already, gets none around them.
func SourceWords(text string) string {
	switch {
	case text == "":
		return "rack"
	case strings.HasPrefix(text, execScheme+":") && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return text
	}
	return Visible(text)
}

func argvProblem(argv []string) string {
	switch {
	case len(argv) == 0 || argv[0] == "":
		return "a command begins with a program"
	case strings.HasPrefix(argv[0], "-"):
		return "a program begins with no -"
	case strings.ContainsRune(strings.Join(argv, ""), 0):
		return "a command holds no NUL"
	}
	return ""
}

// pointer says whether text is a JSON pointer that names something in a text.
func pointer(text string) bool { return strings.HasPrefix(text, "/") }

// execSource reads the table of an exec source, and returns it as a text.
func execSource(n *node, table map[string]any) (string, error) {
	var argv []string
	pointers := map[string]string{}
	for _, k := range n.keys {
		switch k.name {
		case "exec":
			list, ok := table[k.name].([]any)
			if !ok || len(list) != len(k.items) {
				return "", fault{k.value, "exec is an array of words in quotes: a program and its arguments"}
			}
			for i, item := range list {
				word, ok := item.(string)
				if !ok {
					return "", fault{k.items[i].value, "exec is an array of words in quotes: a program and its arguments"}
				}
				argv = append(argv, word)
			}
			if problem := argvProblem(argv); problem != "" {
				return "", fault{k.value, problem}
			}
		case "value", "expiry":
			text, ok := table[k.name].(string)
			if !ok || !pointer(text) || strings.ContainsAny(text, "#\x00") {
				return "", fault{k.value, k.name + ` is a JSON pointer, such as "/token", without #`}
			}
			pointers[k.name] = text
		default:
			return "", unknown(k, execKeys, nil)
		}
	}
	text := execScheme + ":" + argvText(argv)
	switch {
	case argv == nil:
		return "", fault{n.value, `a table in from has exec = ["COMMAND", "ARG"]`}
	case pointers["value"] == "" && pointers["expiry"] != "":
		return "", fault{n.index["expiry"].key, "expiry needs value: both stand in JSON"}
	case pointers["value"] != "":
		text += "#" + pointers["value"]
	}
	if pointers["expiry"] != "" {
		text += "#" + pointers["expiry"]
	}
	return text, nil
}
