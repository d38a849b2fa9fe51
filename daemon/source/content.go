package source

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// content is what a rack holds. As text it is TOML, so that whoever decrypts it
// with age can read it:
//
//	# The content of a keyrack rack: worksite, name, value.
//	["acme/api"]
//	DATABASE_URL = "postgres://…"
//	BLOB = { base64 = "…" }        (a value that is no UTF-8 text)
//
// It is read and written here, over bytes, because a TOML library makes strings,
// which can't be wiped. Of TOML the reader knows what the writer writes: comments,
// blank lines, tables and these two forms of a value, one a line.
type content []secret

// secret is one value, under the name of its worksite and its own.
type secret struct {
	site, name string
	value      []byte
}

const heading = "# The content of a keyrack rack: worksite, name, value.\n"

func (c content) wipe() {
	for _, s := range c {
		clear(s.value)
	}
}

// find is where the secret is, or where it would have to be: c is sorted.
func (c content) find(site, name string) (int, bool) {
	return slices.BinarySearchFunc(c, secret{site: site, name: name}, compare)
}

func compare(a, b secret) int {
	if n := strings.Compare(a.site, b.site); n != 0 {
		return n
	}
	return strings.Compare(a.name, b.name)
}

// checkNames refuses what the text has no form for. Which names there are is
// checked elsewhere.
func checkNames(site, name string) error {
	if site == "" || !utf8.ValidString(site) {
		return fmt.Errorf("the name of a worksite is text")
	}
	if name == "" || strings.IndexFunc(name, notBare) >= 0 {
		return fmt.Errorf("the name of a secret is letters, digits, _ and -")
	}
	return nil
}

func notBare(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// size is the size of c as text, or any number over maxRack.
func (c content) size() int {
	size := len(heading)
	site := ""
	for _, s := range c {
		if s.site != site {
			site = s.site
			size += len("\n[]\n") + quotedSize([]byte(site))
		}
		if size += len(s.name) + len(" = \n") + len(s.value); size > maxRack {
			break
		}
		size += valueSize(s.value) - len(s.value)
	}
	return size
}

// text is c as text, in a buffer that never moved. The caller wipes it.
func (c content) text() []byte {
	text := make([]byte, 0, c.size())
	text = append(text, heading...)
	site := ""
	for _, s := range c {
		if s.site != site {
			site = s.site
			text = append(appendQuoted(append(text, "\n["...), []byte(site)), "]\n"...)
		}
		text = append(append(text, s.name...), " = "...)
		text = append(appendValue(text, s.value), '\n')
	}
	return text
}

const binaryOpen, binaryClose = `{ base64 = "`, `" }`

func valueSize(value []byte) int {
	if utf8.Valid(value) {
		return quotedSize(value)
	}
	return len(binaryOpen) + base64.StdEncoding.EncodedLen(len(value)) + len(binaryClose)
}

func appendValue(text, value []byte) []byte {
	if utf8.Valid(value) {
		return appendQuoted(text, value)
	}
	text = append(text, binaryOpen...)
	text = base64.StdEncoding.AppendEncode(text, value)
	return append(text, binaryClose...)
}

// short are the escapes of one letter, each after the byte that it stands for.
const short = "\"\"\\\\\bb\tt\nn\ff\rr"

// escape is the letter that stands for b in a string, 'u' for one that takes the
// long form, 0 for none.
func escape(b byte) byte {
	for i := 0; i < len(short); i += 2 {
		if short[i] == b {
			return short[i+1]
		}
	}
	if b < ' ' || b == 0x7f {
		return 'u'
	}
	return 0
}

func quotedSize(value []byte) int {
	size := len(value) + 2
	for _, b := range value {
		switch escape(b) {
		case 0:
		case 'u':
			size += len(`u0000`)
		default:
			size++
		}
	}
	return size
}

func appendQuoted(text, value []byte) []byte {
	const hex = "0123456789ABCDEF"
	text = append(text, '"')
	for _, b := range value {
		switch e := escape(b); e {
		case 0:
			text = append(text, b)
		case 'u':
			text = append(text, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		default:
			text = append(text, '\\', e)
		}
	}
	return append(text, '"')
}

// parse reads text, and never quotes it in an error. The values are copies.
func parse(text []byte) (content, error) {
	var c content
	site := ""
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		line = bytes.Trim(line, " \t\r")
		var ok bool
		switch {
		case len(line) == 0 || line[0] == '#':
			ok = true
		case line[0] == '[':
			site, ok = parseTable(line)
		default:
			var s secret
			if s, ok = parseSecret(line); ok {
				s.site = site
				c = append(c, s)
				ok = site != ""
			}
		}
		if !ok {
			c.wipe()
			return nil, fmt.Errorf("line %d of its content is none that keyrack writes", number)
		}
	}
	slices.SortStableFunc(c, compare)
	for i := range max(len(c)-1, 0) {
		if compare(c[i], c[i+1]) == 0 {
			c.wipe()
			return nil, fmt.Errorf("its content names a secret twice")
		}
	}
	return c, nil
}

func parseTable(line []byte) (string, bool) {
	line, closed := bytes.CutSuffix(line, []byte("]"))
	site, ok := parseQuoted(bytes.Trim(line[1:], " \t"))
	return string(site), closed && ok && len(site) > 0
}

func parseSecret(line []byte) (secret, bool) {
	name, rest, ok := bytes.Cut(line, []byte("="))
	s := secret{name: string(bytes.Trim(name, " \t"))}
	if !ok || checkNames("any", s.name) != nil {
		return secret{}, false
	}
	rest = bytes.Trim(rest, " \t")
	if encoded, binary := bytes.CutPrefix(rest, []byte(binaryOpen)); binary {
		encoded, ok = bytes.CutSuffix(encoded, []byte(binaryClose))
		s.value = make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
		n, err := base64.StdEncoding.Strict().Decode(s.value, encoded)
		s.value = s.value[:n]
		return s, ok && err == nil
	}
	s.value, ok = parseQuoted(rest)
	return s, ok
}

// parseQuoted reads a string, which is no longer than its text.
func parseQuoted(text []byte) ([]byte, bool) {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return nil, false
	}
	text = text[1 : len(text)-1]
	value := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b == '"' {
			return nil, false
		}
		if b == '\\' {
			var size int
			if b, size = unescape(text[i+1:]); size == 0 {
				return nil, false
			}
			i += size
		}
		value = append(value, b)
	}
	return value, utf8.Valid(text)
}

// unescape reads what follows a backslash, and how long that is; 0 for none that
// the writer writes.
func unescape(text []byte) (b byte, size int) {
	if len(text) == 0 {
		return 0, 0
	}
	for i := 1; i < len(short); i += 2 {
		if short[i] == text[0] {
			return short[i-1], 1
		}
	}
	if text[0] != 'u' || len(text) < 5 || text[1] != '0' || text[2] != '0' {
		return 0, 0
	}
	high, low := bytes.IndexByte(digits, text[3]), bytes.IndexByte(digits, text[4])
	if high < 0 || high > 7 || low < 0 {
		return 0, 0
	}
	return byte(high<<4 | low), 5
}

var digits = []byte("0123456789ABCDEF")
