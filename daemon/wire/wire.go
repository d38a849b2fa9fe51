// Package wire is the daemon's socket as both ends see it: where it lies, how a
// request and its answer are framed, who is at the other end, and how a client
// asks and, where nobody answers, starts a daemon.
//
// It is what the smallest client links, one exec a command line, so it talks to
// the kernel by raw system calls and imports nothing that costs at start-up. It
// knows no secret, no worksite and no source: that is package daemon.
//
// One connection carries one request and one answer. A frame is its payload's
// length in decimal, a newline, and the payload; the payload is fields, each
// ended by a NUL byte. The first field is the protocol version.
package wire

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// Version is the protocol that this end speaks: a positive decimal number.
const Version = "1"

// Bounds of a frame, in bytes of payload, and of its parts.
const (
	MaxRequest = 1 << 20
	MaxAnswer  = 8 << 20
	maxDigits  = 10
	maxFields  = 1 << 16
)

// The statuses of an answer.
const (
	OK          = "ok"
	NotAllowed  = "not-allowed"
	Unconfirmed = "unconfirmed" // a person's yes is missing: question, then answer
	Locked      = "locked"
	Missing     = "missing"
	Invalid     = "invalid"
	NoRack      = "no-rack"
	Unavailable = "unavailable"
	BadVersion  = "version"
	Failed      = "failed"
)

// The verbs. Stop and Ping keep their form in every version of the protocol:
// Stop answers ok, Ping answers ok, the daemon's pid and its version.
const (
	VerbHook   = "hook"
	VerbGrant  = "grant"
	VerbStatus = "status"
	VerbGet    = "get"
	VerbSet    = "set"
	VerbRemove = "rm"
	VerbList   = "ls"
	VerbLock   = "lock"
	VerbUnlock = "unlock"
	VerbTouch  = "touch"
	VerbStop   = "stop"
	VerbPing   = "ping"

	VerbQuestion = "question"
	VerbAnswer   = "answer"
)

// Error is an answer that is not ok, or the reason why there is none. Message is
// one line for a person, Hint a command that mends it, or empty. Neither ever
// holds a value.
type Error struct {
	Status  string
	Message string
	Hint    string

	absent bool // nobody listens: starting a daemon may help
	older  bool // the daemon speaks an older protocol: replacing it helps
}

func (e *Error) Error() string { return e.Message }

// Fields are the error as the fields of an answer.
func (e *Error) Fields() [][]byte {
	return [][]byte{[]byte(e.Status), []byte(clean(e.Message)), []byte(clean(e.Hint))}
}

// Failure returns the error that an answer to any verb but hook and grant
// stands for, nil when its status is ok.
func Failure(answer [][]byte) error {
	if len(answer) == 0 {
		return &Error{Status: Failed, Message: "the daemon sent an empty answer"}
	}
	if string(answer[0]) == OK {
		return nil
	}
	e := &Error{Status: string(answer[0]), Message: "the daemon refused"}
	if len(answer) > 1 {
		e.Message = string(answer[1])
	}
	if len(answer) > 2 {
		e.Hint = string(answer[2])
	}
	return e
}

// Errors of a frame. They never quote what was received.
var (
	ErrFrame  = errors.New("malformed frame")
	ErrTooBig = errors.New("frame over the limit")
)

// Encode returns the frame that carries fields, in a buffer of its own that the
// caller may wipe. A field that holds a NUL byte is ErrFrame.
func Encode(fields ...[]byte) ([]byte, error) {
	size := 0
	for _, f := range fields {
		if bytes.IndexByte(f, 0) >= 0 {
			return nil, ErrFrame
		}
		size += len(f) + 1
	}
	frame := AppendHeader(make([]byte, 0, FrameSize(size)), size)
	for _, f := range fields {
		frame = append(append(frame, f...), 0)
	}
	return frame, nil
}

// FrameSize is the size of a frame whose payload has size bytes.
func FrameSize(size int) int {
	digits := 1
	for n := size; n >= 10; n /= 10 {
		digits++
	}
	return digits + 1 + size
}

// AppendHeader appends what stands before a payload of size bytes, for who puts a
// frame together in memory of his own.
func AppendHeader(frame []byte, size int) []byte {
	return append(strconv.AppendInt(frame, int64(size), 10), '\n')
}

// ReadFrame reads one frame whose payload is at most limit bytes and returns its
// fields, which share one buffer. Memory grows with what arrives, not with what
// the header promises. An end of input before the first byte is io.EOF, later
// io.ErrUnexpectedEOF; anything after the frame in the same read is ErrFrame.
func ReadFrame(r io.Reader, limit int) ([][]byte, error) {
	return ReadFrameIn(make([]byte, 0, 4096), r, limit, func(old []byte, size int) ([]byte, error) {
		bigger := make([]byte, len(old), size)
		copy(bigger, old)
		clear(old)
		return bigger, nil
	})
}

// ReadFrameIn is ReadFrame into memory of the caller's, buf, which is empty and
// has room. grow is asked for a bigger one that begins with what old holds, and
// has old to itself from then on; its errors are passed on.
func ReadFrameIn(buf []byte, r io.Reader, limit int, grow func(old []byte, size int) ([]byte, error)) ([][]byte, error) {
	start, end := 0, -1 // of the payload; end is unknown until the header is whole
	for end < 0 || len(buf) < end {
		if len(buf) == cap(buf) {
			size := 2 * cap(buf)
			if end >= 0 && size > end {
				size = end
			}
			bigger, err := grow(buf, size)
			if err != nil {
				clear(buf)
				return nil, err
			}
			buf = bigger
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end < 0 {
			var bad error
			if start, end, bad = header(buf, limit); bad != nil {
				clear(buf)
				return nil, bad
			}
		}
		if err != nil && (end < 0 || len(buf) < end) {
			return nil, ended(buf, err)
		}
	}
	if len(buf) > end {
		clear(buf)
		return nil, ErrFrame
	}
	return split(buf[start:end])
}

// Fields are the fields of a frame that is whole, in its own memory.
func Fields(frame []byte) ([][]byte, error) {
	start, end, err := header(frame, MaxAnswer)
	if err != nil || end != len(frame) {
		return nil, ErrFrame
	}
	return split(frame[start:end])
}

// ended turns the end of input into the error of an unfinished frame.
func ended(buf []byte, err error) error {
	clear(buf)
	if err == io.EOF && len(buf) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// header reads the length line. end is -1 while more of it has to come.
func header(buf []byte, limit int) (start, end int, err error) {
	n := 0
	for i, c := range buf {
		switch {
		case c == '\n' && i > 0:
			return i + 1, i + 1 + n, nil
		case c < '0' || c > '9' || i == maxDigits || i == 1 && buf[0] == '0':
			return 0, -1, ErrFrame
		}
		n = n*10 + int(c-'0')
		if n > limit {
			return 0, -1, ErrTooBig
		}
	}
	return 0, -1, nil
}

// split cuts a payload into its fields.
func split(payload []byte) ([][]byte, error) {
	n := bytes.Count(payload, []byte{0})
	if n == 0 || n > maxFields || payload[len(payload)-1] != 0 {
		clear(payload)
		return nil, ErrFrame
	}
	fields := make([][]byte, 0, n)
	for len(payload) > 0 {
		i := bytes.IndexByte(payload, 0)
		fields = append(fields, payload[:i:i])
		payload = payload[i+1:]
	}
	return fields, nil
}

// Wipe zeroes every field.
func Wipe(fields [][]byte) {
	for _, f := range fields {
		clear(f)
	}
}

// clean makes text fit for a field and for one line of a terminal.
func clean(text string) string {
	for i := range len(text) {
		if text[i] < ' ' || text[i] == 0x7f {
			b := []byte(text)
			for j, c := range b {
				if c < ' ' || c == 0x7f {
					b[j] = ' '
				}
			}
			return string(b)
		}
	}
	return text
}
