package worksite

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// The TOML library tells where a key or a value stands only now and then, and
// takes minutes for keys of thousands of parts. So scan goes over the text first:
// it notes the offset of each key and value, refuses what is nested deeper than
// any worksite, and words the common mistakes itself. What a value means is left
// to the library.

// maxDepth bounds how deep tables and arrays nest. A worksite needs five levels.
const maxDepth = 16

// node is a key, an element of an array, or the document.
type node struct {
	name  string
	depth int
	key   int // offset of the key; of the `[` where a header begins with it
	value int // offset of the value; where a header names it, of the key
	keys  []*node
	index map[string]*node
	items []*node
}

// child finds or makes the key name of n, which stands at the offset at.
func (n *node) child(name string, at int) *node {
	if found := n.index[name]; found != nil {
		return found
	}
	c := n.newNode(at)
	c.name = name
	if n.index == nil {
		n.index = map[string]*node{}
	}
	n.index[name] = c
	n.keys = append(n.keys, c)
	return c
}

func (n *node) newNode(at int) *node {
	if n.depth == maxDepth {
		panic(fault{at, "nested too deeply"})
	}
	return &node{depth: n.depth + 1, key: at, value: at}
}

// scan makes a tree of a text without bad characters. The error is a fault.
func scan(text string) (root *node, err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case fault:
			err = f
		default:
			panic(f)
		}
	}()
	root = &node{}
	s := &scanner{text: text}
	table := root
	for s.skip(true); s.at < len(text); s.skip(true) {
		if s.has("[") {
			table = s.header(root)
		} else {
			s.pair(table)
		}
		s.endLine()
	}
	return root, nil
}

// scanner goes over a text; its methods panic with a fault.
type scanner struct {
	text string
	at   int
}

func (s *scanner) fail(at int, text string) { panic(fault{at, text}) }

func (s *scanner) has(prefix string) bool { return strings.HasPrefix(s.text[s.at:], prefix) }

// take passes over prefix where it stands next.
func (s *scanner) take(prefix string) bool {
	ok := s.has(prefix)
	if ok {
		s.at += len(prefix)
	}
	return ok
}

// while passes over the bytes that are of a kind.
func (s *scanner) while(kind func(byte) bool) string {
	start := s.at
	for s.at < len(s.text) && kind(s.text[s.at]) {
		s.at++
	}
	return s.text[start:s.at]
}

// skip passes over blanks; with lines, over comments and the ends of lines too.
func (s *scanner) skip(lines bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ' ', c == '\t', lines && (c == '\n' || c == '\r'):
			s.at++
		case lines && c == '#':
			s.while(func(c byte) bool { return c != '\n' })
		default:
			return
		}
	}
}

// endLine passes over the rest of a line, which has nothing left to say.
func (s *scanner) endLine() {
	s.skip(false)
	if s.at == len(s.text) || s.has("#") || s.has("\n") || s.has("\r\n") {
		return
	}
	s.fail(s.at, "the line should end here")
}

// header reads [a.b], or [[a.b]], which begins a row of an array.
func (s *scanner) header(root *node) *node {
	start := s.at
	end := "]"
	if s.at++; s.take("[") {
		end = "]]"
	}
	known := len(root.keys)
	table := s.path(root)
	if len(root.keys) > known {
		root.keys[known].key = start
		root.keys[known].value = start
	}
	if !s.take(end) {
		s.fail(s.at, "a table's header needs "+end)
	}
	if end == "]]" {
		row := table.newNode(start)
		table.items = append(table.items, row)
		table = row
	}
	return table
}

// pair reads key = value.
func (s *scanner) pair(table *node) {
	n := s.path(table)
	if !s.take("=") {
		s.fail(s.at, "a key needs = and a value")
	}
	s.skip(false)
	s.value(n)
}

// path reads a key, with its dots, and the blanks around it.
func (s *scanner) path(n *node) *node {
	for {
		s.skip(false)
		at := s.at
		n = n.child(s.name(), at)
		s.skip(false)
		if !s.take(".") {
			return n
		}
		if rows := len(n.items); rows > 0 { // of an array of tables, the last one goes on
			n = n.items[rows-1]
		}
	}
}

// name reads one part of a key.
func (s *scanner) name() string {
	switch {
	case s.has(`"`):
		return s.basic(`"`)
	case s.has("'"):
		return s.literal("'")
	}
	start := s.at
	name := s.while(func(c byte) bool { return isWord(c) || c == '-' })
	if name == "" {
		s.fail(start, "a key should stand here")
	}
	return name
}

func (s *scanner) value(n *node) {
	n.value = s.at
	switch {
	case s.has(`"""`):
		s.basic(`"""`)
	case s.has(`"`):
		s.basic(`"`)
	case s.has("'''"):
		s.literal("'''")
	case s.has("'"):
		s.literal("'")
	case s.take("["):
		s.list("]", func() {
			item := n.newNode(s.at)
			n.items = append(n.items, item)
			s.value(item)
		})
	case s.take("{"):
		s.list("}", func() { s.pair(n) })
	default:
		s.scalar()
	}
}

// list reads what stands between brackets, with commas in between.
func (s *scanner) list(end string, element func()) {
	start := s.at - 1
	for {
		if s.skip(true); s.take(end) {
			return
		}
		if s.at == len(s.text) {
			s.fail(start, "this bracket is never closed")
		}
		element()
		if s.skip(true); !s.take(",") && !s.has(end) {
			if s.at == len(s.text) {
				s.fail(start, "this bracket is never closed")
			}
			s.fail(s.at, "a comma or "+end+" should stand here")
		}
	}
}

// scalar passes over a number, a date or a truth value.
func (s *scanner) scalar() {
	start := s.at
	kind := func(c byte) bool { return isWord(c) || strings.IndexByte("+-.:", c) >= 0 }
	word := s.while(kind)
	if len(word) == len("2006-01-02") && s.has(" ") && s.at+1 < len(s.text) && isDigit(s.text[s.at+1]) {
		s.at++ // a date may have a blank before the time
		s.while(kind)
	}
	switch {
	case word == "" && (s.at == len(s.text) || strings.IndexByte(",]}#\r\n", s.text[s.at]) >= 0):
		s.fail(start, "a value is missing")
	case word == "", isLetter(word[0]) && word != "true" && word != "false" && word != "inf" && word != "nan":
		s.fail(start, "not a TOML value: a string stands in quotes")
	}
}

// literal reads a string in which nothing is escaped.
func (s *scanner) literal(quote string) string {
	start := s.at
	s.at += len(quote)
	body := s.at
	for !s.has(quote) {
		s.inside(start, quote)
		s.at++
	}
	end := s.at
	s.closeQuote(quote)
	return s.text[body:end]
}

// basic reads a string with escapes. What it returns is right for one line.
func (s *scanner) basic(quote string) string {
	start := s.at
	s.at += len(quote)
	var b strings.Builder
	for !s.has(quote) {
		s.inside(start, quote)
		if s.has(`\`) {
			s.escape(&b, len(quote) == 3)
			continue
		}
		b.WriteByte(s.text[s.at])
		s.at++
	}
	s.closeQuote(quote)
	return b.String()
}

// inside fails where the string that began at start ends without a quote.
func (s *scanner) inside(start int, quote string) {
	if s.at == len(s.text) || len(quote) == 1 && strings.IndexByte("\r\n", s.text[s.at]) >= 0 {
		s.fail(start, "this string is never closed")
	}
}

// closeQuote passes over the closing quotes. Up to two more of them belong to a
// string of many lines.
func (s *scanner) closeQuote(quote string) {
	s.at += len(quote)
	if len(quote) == 3 && s.take(quote[:1]) {
		s.take(quote[:1])
	}
}

// plainEscapes are the characters that stand for one after a backslash.
var plainEscapes = map[byte]byte{'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', 'e': 0x1b, '"': '"', '\\': '\\'}

func (s *scanner) escape(b *strings.Builder, lines bool) {
	start := s.at
	s.at++
	rest := s.text[s.at:]
	if lines {
		if blanks := strings.TrimLeft(rest, " \t"); strings.HasPrefix(blanks, "\n") || strings.HasPrefix(blanks, "\r\n") {
			return
		}
	}
	if rest == "" {
		s.fail(start, "unknown escape")
	}
	s.at++
	if c, ok := plainEscapes[rest[0]]; ok {
		b.WriteByte(c)
		return
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[rest[0]]
	if digits == 0 || len(rest) <= digits {
		s.fail(start, "unknown escape")
	}
	code, err := strconv.ParseUint(rest[1:1+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(code)) {
		s.fail(start, "this escape stands for no character")
	}
	s.at += digits
	b.WriteRune(rune(code))
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }
