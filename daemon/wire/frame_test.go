package wire

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFrameRoundTrip(t *testing.T) {
	every := make([]byte, 255)
	for i := range every {
		every[i] = byte(i + 1)
	}
	tests := map[string][][]byte{
		"one":         {[]byte("1")},
		"empty field": {{}, []byte("x"), {}},
		"every byte":  {every},
		"100 KB":      {bytes.Repeat([]byte("x"), 100<<10), []byte("y")},
	}
	for name, fields := range tests {
		frame, err := Encode(fields...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range []io.Reader{bytes.NewReader(frame), iotest.OneByteReader(bytes.NewReader(frame)), iotest.DataErrReader(bytes.NewReader(frame))} {
			got, err := ReadFrame(r, MaxRequest)
			if err != nil || !equal(got, fields) {
				t.Errorf("%s: %d fields, error %v", name, len(got), err)
			}
		}
	}
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func TestEncodeRefusesNUL(t *testing.T) {
	if _, err := Encode([]byte("a\x00b")); err != ErrFrame {
		t.Errorf("error %v", err)
	}
}

const marker = "MARKER-61c1f0"

func TestReadFrameRefuses(t *testing.T) {
	tests := []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.EOF},
		{"no header", marker, ErrFrame},
		{"sign", "-1\n", ErrFrame},
		{"no digits", "\n", ErrFrame},
		{"leading zero", "03\nab\x00", ErrFrame},
		{"space", " 3\nab\x00", ErrFrame},
		{"4 GiB", "4294967296\n" + marker, ErrTooBig},
		{"11 digits", "00000000001", ErrFrame},
		{"over the limit", "101\n", ErrTooBig},
		{"no NUL at the end", "2\nab", ErrFrame},
		{"no field", "0\n", ErrFrame},
		{"cut header", "1", io.ErrUnexpectedEOF},
		{"cut payload", "10\nab\x00", io.ErrUnexpectedEOF},
		{"more than the frame", "3\nab\x00" + marker, ErrFrame},
	}
	for _, tt := range tests {
		_, err := ReadFrame(strings.NewReader(tt.in), 100)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%s: the error quotes what came", tt.name)
		}
	}
}

// A header is a promise: memory grows with what comes.
func TestReadFrameMemoryIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := ReadFrame(strings.NewReader("8000000\nx"), MaxAnswer); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("100 empty promises took %d bytes", used)
	}
}

func TestTooManyFields(t *testing.T) {
	frame := append([]byte("70000\n"), make([]byte, 70000)...)
	if _, err := ReadFrame(bytes.NewReader(frame), MaxRequest); err != ErrFrame {
		t.Errorf("error %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, seed := range []string{"3\nab\x00", "1\n\x00", "4294967296\n", "0\n", "12\n1\x00ping\x00", "2\nab", "\n\n", "99999999999\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fields, err := ReadFrame(bytes.NewReader(in), 1<<16)
		if err != nil {
			return
		}
		again, err := Encode(fields...)
		if err != nil || !bytes.Equal(again, in) {
			t.Fatalf("a frame of %d bytes does not round trip: %v", len(in), err)
		}
	})
}

func TestErrorFields(t *testing.T) {
	e := &Error{Status: Locked, Message: "locked\nhere\x00\x1b", Hint: "keyrack unlock"}
	err := Failure(e.Fields())
	var got *Error
	if !errors.As(err, &got) || got.Status != Locked || got.Message != "locked here  " || got.Hint != "keyrack unlock" {
		t.Errorf("got %+v", got)
	}
	if err := Failure([][]byte{[]byte(OK)}); err != nil {
		t.Errorf("ok is %v", err)
	}
	if Failure(nil) == nil {
		t.Error("an empty answer is ok")
	}
}
