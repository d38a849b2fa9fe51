package source

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"keyrack/daemon/arena"
	"keyrack/worksite"
)

// explain words a tool's failure by what it wrote to standard error.
func (t *tool) explain(s worksite.Source, program string, code int, said []byte) *Problem {
	line := errorLine(said)
	text := fmt.Sprintf("exit code %d", code)
	if len(line) > 0 {
		text = printable(string(line))
	}
	switch {
	case t.absent != nil && t.absent.Match(said):
		return absent("%s", text)
	case t.loggedOut != nil && t.login == "" && t.loggedOut.Match(said):
		return down("%s", text)
	case t.loggedOut != nil && t.loggedOut.Match(said):
		p := down("%s: first, in a terminal: %s", text, t.words(s))
		p.Login = t.words(s)
		return p
	}
	if unreachable.Match(said) {
		return down("%s: %s", program, text)
	}
	return about("%s: %s", program, text)
}

// unreachable matches what tools say where there is no way to their server, in the
// words of Go, Python, Node.js and C.
var unreachable = regexp.MustCompile(`(?i)connection refused|connection reset|could not connect|no such host|not resolve|name resolution|unreachable|i/o timeout|timed out|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT`)

// sayError matches the lines that say that they are errors, perhaps after one word, or
// in a frame what the server said.
var sayError = regexp.MustCompile(`(?i)^\W*(\w+\W+)?error\b|^│\s*Message: `)

// errorLine is the first line that says that it is an error, or else the first that
// says anything. Where what is wrong stands on a line of its own, that is added.
func errorLine(said []byte) []byte {
	var line, rest []byte
	for left := said; len(left) > 0; {
		var next []byte
		next, left, _ = bytes.Cut(left, []byte("\n"))
		text := bytes.Trim(next, "╭─╮│ \t\r")
		if found := sayError.Match(next); found || len(line) == 0 {
			line, rest = text, left
			if found {
				break
			}
		}
	}
	for more := range bytes.Lines(rest) {
		more = bytes.TrimSpace(more)
		if bytes.HasPrefix(more, []byte("* ")) || bytes.HasSuffix(line, []byte(":")) && len(more) > 0 {
			return slices.Concat(line, []byte(" "), more)
		}
	}
	return line
}

// maxLine bounds a line of a tool's that is shown, in characters.
const maxLine = 300

// printable is a tool's line with its control characters made visible.
func printable(line string) string {
	var text strings.Builder
	for i, r := range []rune(line) {
		switch {
		case i == maxLine:
			return text.String() + "…"
		case unicode.IsPrint(r):
			text.WriteRune(r)
		default:
			text.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return text.String()
}

// Mask puts stars in place of value wherever it stands in text.
func Mask(text, value []byte) {
	defer arena.Forget()
	for at := 0; len(value) > 0; {
		i := bytes.Index(text[at:], value)
		if i < 0 {
			return
		}
		at += i
		for range value {
			text[at] = '*'
			at++
		}
	}
}
