package cmd

import (
	"fmt"
	"os"
)

// emit puts what is not secret, and values, on standard output, without a copy of
// them.
func emit(parts ...[]byte) error {
	for _, part := range parts {
		if _, err := os.Stdout.Write(part); err != nil {
			return fmt.Errorf("standard output: %w", err)
		}
	}
	return nil
}

// member is one of a JSON object: text, which may be secret, or what stands in JSON
// as it is, or an object.
type member struct {
	key  string
	text []byte
	is   string
	of   []member
}

// object writes one JSON object on a line, and wipes what it made of texts.
func object(members ...member) error {
	if err := nested(members); err != nil {
		return err
	}
	return emit([]byte("\n"))
}

func nested(members []member) error {
	before := "{"
	for _, m := range members {
		if err := emit([]byte(before), quoteJSON([]byte(m.key)), []byte(":")); err != nil {
			return err
		}
		if err := m.write(); err != nil {
			return err
		}
		before = ","
	}
	if len(members) == 0 {
		return emit([]byte("{}"))
	}
	return emit([]byte("}"))
}

func (m member) write() error {
	switch {
	case m.of != nil:
		return nested(m.of)
	case m.is != "":
		return emit([]byte(m.is))
	}
	value := quoteJSON(m.text)
	defer clear(value)
	return emit(value)
}

// quoteJSON makes a JSON string of valid UTF-8, in one piece of memory.
func quoteJSON(text []byte) []byte {
	const hex = "0123456789abcdef"
	out := append(make([]byte, 0, 6*len(text)+2), '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ':
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}
