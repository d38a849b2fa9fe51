package scan

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

const plain = "as it is"

// forms are how a value may be written: each name with the functions that write it. A
// function returns nil for what it can't write, and what it writes is the caller's.
var forms = []struct {
	name  string
	write []func(value []byte) []byte
}{
	{plain, []func([]byte) []byte{func(v []byte) []byte { return v }}},
	{"base64", []func([]byte) []byte{inBase64(base64.RawStdEncoding, 0), inBase64(base64.RawStdEncoding, 1), inBase64(base64.RawStdEncoding, 2),
		inBase64(base64.RawURLEncoding, 0), inBase64(base64.RawURLEncoding, 1), inBase64(base64.RawURLEncoding, 2)}},
	{"hex", []func([]byte) []byte{inHex, func(v []byte) []byte { return upper(inHex(v)) }}},
	{"URL-encoded", []func([]byte) []byte{
		inURL(unreserved, "0123456789ABCDEF"), inURL(unreserved, "0123456789abcdef"),
		inURL(unreserved+"!'()*", "0123456789ABCDEF"),                                        // encodeURIComponent
		inURL(unreserved+" ", "0123456789ABCDEF"), inURL(unreserved+" ", "0123456789abcdef"), // forms, where a blank is +
		inURL(unreserved+"$&+:=@", "0123456789ABCDEF"), inURL(unreserved+"$&+:=@!'()*,;", "0123456789ABCDEF"), // parts of a path, of user information
	}},
	{"escaped", []func([]byte) []byte{escaped}},
}

// inBase64 writes what of the encoding of a longer text depends on the value alone,
// where the value stands at a multiple of three, and skip bytes more, of that text.
func inBase64(encoding *base64.Encoding, skip int) func([]byte) []byte {
	return func(value []byte) []byte {
		text := append(make([]byte, skip, skip+len(value)), value...)
		defer clear(text)
		out := make([]byte, encoding.EncodedLen(len(text)))
		encoding.Encode(out, text)
		return out[(8*skip+5)/6 : 8*len(text)/6]
	}
}

func inHex(value []byte) []byte {
	out := make([]byte, hex.EncodedLen(len(value)))
	hex.Encode(out, value)
	return out
}

func upper(text []byte) []byte {
	defer clear(text)
	return bytes.ToUpper(text)
}

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// inURL writes %XX, in digits, for all but the bytes keep, and + for a blank that is to be kept.
func inURL(keep, digits string) func([]byte) []byte {
	return func(value []byte) []byte {
		out := make([]byte, 0, 3*len(value))
		for _, c := range value {
			switch {
			case strings.IndexByte(keep, c) < 0:
				out = append(out, '%', digits[c>>4], digits[c&15])
			case c == ' ':
				out = append(out, '+')
			default:
				out = append(out, c)
			}
		}
		return out
	}
}

// escaped writes the value as most languages, JSON and .env files have it between quotes.
func escaped(value []byte) []byte {
	out := make([]byte, 0, 2*len(value))
	for _, c := range value {
		if at := strings.IndexByte("\"\\\n\r\t", c); at >= 0 {
			out = append(out, '\\', "\"\\nrt"[at])
			continue
		}
		out = append(out, c)
	}
	return out
}
