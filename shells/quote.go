package shells

import "bytes"

// Quote makes one word of v that evaluates to v's exact bytes. A NUL byte,
// which no variable of any shell can hold, ends the value.
func (s Shell) Quote(v []byte) []byte {
	return s.appendQuoted(make([]byte, 0, len(v)+len(v)/16+2), v)
}

// QuoteString is Quote for a string.
func (s Shell) QuoteString(v string) string {
	return string(s.Quote([]byte(v)))
}

func (s Shell) appendQuoted(to, v []byte) []byte {
	v = beforeNUL(v)
	if s == Fish {
		return appendFish(to, v)
	}
	return appendPOSIX(to, v)
}

func beforeNUL(v []byte) []byte {
	if i := bytes.IndexByte(v, 0); i >= 0 {
		return v[:i]
	}
	return v
}

// appendANSI writes all but the printable letters of ASCII in octal, inside $'…'.
func appendANSI(to, v []byte) []byte {
	to = append(to, '$', '\'')
	for _, c := range beforeNUL(v) {
		if c < ' ' || c > '~' || c == '\'' || c == '\\' {
			to = append(to, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		} else {
			to = append(to, c)
		}
	}
	return append(to, '\'')
}

// appendPOSIX closes the quotes around each single quote and escapes it there.
// Quotes are never opened for nothing between two of them: two quotes in a row
// inside quotes would be one quote under zsh's rc_quotes.
func appendPOSIX(to, v []byte) []byte {
	if len(v) == 0 {
		return append(to, '\'', '\'')
	}
	quoted := false
	for _, c := range v {
		if (c == '\'') == quoted {
			to = append(to, '\'')
			quoted = !quoted
		}
		if c == '\'' {
			to = append(to, '\\')
		}
		to = append(to, c)
	}
	if quoted {
		to = append(to, '\'')
	}
	return to
}

// appendFish escapes what fish's single quotes take for more than itself: the
// quote and the backslash.
func appendFish(to, v []byte) []byte {
	to = append(to, '\'')
	for _, c := range v {
		if c == '\'' || c == '\\' {
			to = append(to, '\\')
		}
		to = append(to, c)
	}
	return append(to, '\'')
}
