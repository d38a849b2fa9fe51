package source

import (
	"bytes"
	"fmt"
)

// Var is a variable of a .env file.
type Var struct {
	Name  string
	Value []byte
}

// WipeVars makes what was read unreadable.
func WipeVars(vars []Var) {
	for _, v := range vars {
		clear(v.Value)
	}
}

// ParseDotenv reads the text of a .env file. The programs that read such files do
// not agree on what they mean: whether $ is expanded, where a comment begins. What
// they all take for the same is read; the rest is an error, because a value that
// is silently another one is worse. Errors begin with `line:col: ` and quote no
// value.
func ParseDotenv(text []byte) (vars []Var, err error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	d := &dotenv{text: bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))}
	defer clear(d.text)
	defer func() {
		switch f := recover().(type) {
		case nil:
		case dotenvFault:
			WipeVars(vars)
			vars, err = nil, d.locate(f)
		default:
			panic(f)
		}
	}()
	seen := map[string][]byte{}
	for d.nextLine() {
		start := d.at
		v := d.assignment()
		before, twice := seen[v.Name]
		switch {
		case !twice:
			vars = append(vars, v)
			seen[v.Name] = v.Value
		case !bytes.Equal(before, v.Value):
			clear(v.Value)
			d.fail(start, v.Name+" stands here again, with another value")
		}
	}
	return vars, nil
}

// dotenv goes over a text; its methods panic with a dotenvFault.
type dotenv struct {
	text []byte
	at   int
}

type dotenvFault struct {
	at   int
	text string
}

func (d *dotenv) fail(at int, text string) { panic(dotenvFault{at, text}) }

func (d *dotenv) locate(f dotenvFault) error {
	before := d.text[:f.at]
	line := bytes.LastIndexByte(before, '\n') + 1
	return fmt.Errorf("%d:%d: %s", 1+bytes.Count(before, []byte("\n")), 1+len([]rune(string(before[line:]))), f.text)
}

// next is the byte that comes next, a newline at the end.
func (d *dotenv) next() byte {
	if d.at == len(d.text) {
		return '\n'
	}
	return d.text[d.at]
}

func (d *dotenv) blanks() {
	for d.next() == ' ' || d.next() == '\t' {
		d.at++
	}
}

func (d *dotenv) toEnd() {
	for d.next() != '\n' {
		d.at++
	}
}

// nextLine goes to the next line that says something.
func (d *dotenv) nextLine() bool {
	for d.at < len(d.text) {
		switch d.blanks(); d.next() {
		case '#':
			d.toEnd()
		case '\n':
			d.at = min(d.at+1, len(d.text))
		default:
			return true
		}
	}
	return false
}

// assignment reads [export] NAME=value and the rest of the line.
func (d *dotenv) assignment() Var {
	start := d.at
	name := d.word()
	if name == "export" && d.next() != '=' {
		d.blanks()
		start = d.at
		name = d.word()
	}
	d.blanks()
	if name == "" || d.next() != '=' {
		d.fail(start, "a line is NAME=value, NAME made of A-Z, a-z, 0-9 and _")
	}
	if name[0] >= '0' && name[0] <= '9' {
		d.fail(start, "a name begins with no digit")
	}
	d.at++
	d.blanks()
	value := d.value()
	if bytes.IndexByte(value, 0) >= 0 {
		d.fail(start, name+" holds a NUL byte, which no variable can")
	}
	return Var{name, value}
}

func (d *dotenv) word() string {
	start := d.at
	for c := d.next(); c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'; c = d.next() {
		d.at++
	}
	return string(d.text[start:d.at])
}

func (d *dotenv) value() (value []byte) {
	switch d.next() {
	case '\'':
		value = d.single()
	case '"':
		value = d.double()
	default:
		return d.unquoted()
	}
	end := d.at
	if d.blanks(); d.next() == '#' && d.at > end {
		d.toEnd()
	}
	if d.next() != '\n' {
		d.fail(d.at, "nothing but a comment, after a blank, may follow the closing quote")
	}
	return value
}

// unquoted reads up to the end of the line or a comment, which a blank precedes.
func (d *dotenv) unquoted() []byte {
	start := d.at
	end := start
	for ; d.next() != '\n'; d.at++ {
		switch d.next() {
		case ' ', '\t':
			continue
		case '#':
			if blank := d.text[d.at-1]; blank == ' ' || blank == '\t' {
				d.toEnd()
				return bytes.Clone(d.text[start:end])
			}
			d.ambiguous()
		case '"', '\'', '`', '$', '\\':
			d.ambiguous()
		}
		end = d.at + 1
	}
	return bytes.Clone(d.text[start:end])
}

func (d *dotenv) ambiguous() {
	d.fail(d.at, "programs don't agree on what this character means here: put the value in '…'")
}

// single reads a value in which every byte is itself.
func (d *dotenv) single() []byte {
	start := d.at
	length := bytes.IndexByte(d.text[start+1:], '\'')
	if length < 0 {
		d.fail(start, "this quote is never closed")
	}
	d.at = start + 1 + length
	if length > 0 && d.text[d.at-1] == '\\' {
		d.at--
		d.ambiguousEscape()
	}
	d.at++
	return bytes.Clone(d.text[start+1 : d.at-1])
}

func (d *dotenv) ambiguousEscape() {
	d.fail(d.at, "programs don't agree on what this backslash means here: use keyrack set for this value")
}

// double reads a value with escapes, of one line or more.
func (d *dotenv) double() []byte {
	start := d.at
	end := start + 1
	for ; end < len(d.text) && d.text[end] != '"'; end++ {
		if d.text[end] == '\\' {
			end++
		}
	}
	value := make([]byte, 0, end-start) // grows no more: a copy would stay in memory
	for d.at++; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; c {
		case '"':
			d.at++
			return value
		case '$', '`':
			d.ambiguous()
		case '\\':
			value = append(value, d.escape())
		default:
			value = append(value, c)
		}
	}
	d.fail(start, "this quote is never closed")
	return nil
}

func (d *dotenv) escape() byte {
	if d.at+1 < len(d.text) {
		switch c := d.text[d.at+1]; c {
		case 'n', 'r':
			d.at++
			return map[byte]byte{'n': '\n', 'r': '\r'}[c]
		case '"', '\\', '$':
			d.at++
			return c
		}
	}
	d.ambiguousEscape()
	return 0
}
