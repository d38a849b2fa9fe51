package cmd

import (
	"errors"
	"strings"
	"testing"
)

func TestHiddenLineOfKeys(t *testing.T) {
	long := strings.Repeat("0123456789", 10<<10) // a terminal's own line mode ends at 4095
	for name, tt := range map[string]struct {
		keys, want string
		err        string // "" for none
	}{
		"text":               {"a b\tc\r", "a b\tc", ""},
		"newline":            {"a\n", "a", ""},
		"nothing":            {"\r", "", ""},
		"long":               {long + "\r", long, ""},
		"backspace":          {"\x7fab\x7f\bc\r", "c", ""},
		"backspace of UTF-8": {"a€\x7fü🔑\x7f\r", "aü", ""},
		"backspace of bytes": {"a\xff\x7f\r", "a", ""},
		"ctrl-u":             {"a\x1b[Db\x15c\r", "c", ""},
		"ctrl-d ends none":   {"a\x04b\r", "", "control character"},
		"ctrl-d at first":    {"\x04", "", "no answer"},
		"ctrl-c":             {"a\x03", "", "exit code 130"},
		"an arrow":           {"a\x1b[D\r", "", "control character"},
		"over 1 MiB":         {strings.Repeat("x", maxAnswer+1), "", "over 1 MiB"},
	} {
		a := &answer{text: make([]byte, 0, 16)}
		var ended bool
		var err error
		for i := range len(tt.keys) {
			if ended, err = a.key(tt.keys[i]); ended {
				if i != len(tt.keys)-1 {
					t.Errorf("%s: ended at key %d", name, i)
				}
				break
			}
		}
		switch {
		case !ended:
			t.Errorf("%s: the line has no end", name)
		case (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err):
			t.Errorf("%s: error %v", name, err)
		case string(a.text) != tt.want:
			t.Errorf("%s: %d bytes, not the %d typed", name, len(a.text), len(tt.want))
		}
		for _, b := range a.text[len(a.text):cap(a.text)] {
			if err != nil && b != 0 {
				t.Errorf("%s: what was typed is left in memory", name)
				break
			}
		}
	}
}

func TestInterruptIsACode(t *testing.T) {
	_, err := (&answer{}).key('C' - '@')
	if code, ok := errors.AsType[codeError](err); !ok || code != 130 {
		t.Errorf("error %v", err)
	}
}
