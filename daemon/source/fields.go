package source

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	keyrings "github.com/zalando/go-keyring"
)

// maxValue bounds a value, and a file or an output that has some, in bytes.
const maxValue = 1 << 20

var errTooLong = errors.New("over 1 MiB")

// outputFD is where the process that reads fields finds a tool's output.
const outputFD = 3

// fields answers for one store with a value or a problem for each name. It runs in a
// process of its own, as what opens the rack does.
func (q request) fields(w io.Writer) error {
	find, err := q.finder()
	for i, name := range q.names {
		var value []byte
		var left time.Duration
		problem := err
		if problem == nil {
			value, left, problem = find(name)
		}
		h := answerHead{kind: answerValue, index: uint32(i), until: int64(left)}
		if problem != nil {
			h.kind, h.until = answerProblem, int64(typeOf(problem))
			value = []byte(oneLine([]byte(problem.Error())))
			value = value[:min(len(value), maxError)]
		}
		h.size = uint32(len(value))
		if _, err := w.Write(h.append(nil)); err != nil {
			return err
		}
		if _, err := w.Write(value); err != nil {
			return err
		}
	}
	return nil
}

// finding finds a value by its name, and how long it may be kept, 0 where nothing
// says so.
type finding func(name string) (value []byte, left time.Duration, err error)

// lasting is find for values that nothing ends, or all at the same time.
func lasting(find func(name string) ([]byte, error), left time.Duration) finding {
	return func(name string) ([]byte, time.Duration, error) {
		value, err := find(name)
		return value, left, err
	}
}

// finder is what finds a name in the file site, or in a tool's output where that is
// "". It is of the format value; key is the pointer to its expiry.
func (q request) finder() (finding, error) {
	var text []byte
	var err error
	switch {
	case string(q.value) == formatKeyring:
		find, err := keyringItems()
		return lasting(find, 0), err
	case string(q.value) == formatKernel:
		return kernelKeys()
	case q.site != "":
		text, err = readRegular(q.site)
	default:
		output := os.NewFile(outputFD, "output")
		text, err = readBounded(output)
		io.Copy(io.Discard, output) // a tool that writes too much does not fail of it
	}
	if err != nil {
		return nil, err
	}
	find, err := finder(string(q.value), text)
	if err != nil {
		return nil, err
	}
	left, err := timeOf(text, string(q.key), time.Now())
	return lasting(find, left), err
}

// notTimes is where the seconds that are left end and those since 1970 begin: they
// are as many as in 31 years.
const notTimes = 1e9

// timeOf is how long after now what stands at pointer lets values be kept, 0 where
// it says nothing. What has ended already has a moment left, which is over for
// whoever reads this.
func timeOf(text []byte, pointer string, now time.Time) (time.Duration, error) {
	if pointer == "" {
		return 0, nil
	}
	word, err := pointed(text, pointer)
	if errors.Is(err, ErrNotFound) || err == nil && (len(word) == 0 || string(word) == "0") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var left time.Duration
	if end, err := time.Parse(time.RFC3339, string(word)); err == nil {
		left = end.Sub(now)
	} else {
		seconds, err := strconv.ParseFloat(string(word), 64)
		switch {
		case err != nil || !(math.Abs(seconds) < 1e11): // also of what is no number
			return 0, fmt.Errorf("what stands at %s is no time and no number of seconds", printable(pointer))
		case seconds >= notTimes:
			left = time.UnixMilli(int64(seconds * 1000)).Sub(now)
		default:
			left = time.Duration(max(seconds, 0) * float64(time.Second))
		}
	}
	return max(left, time.Nanosecond), nil
}

// readRegular reads a regular file. Opening waits for nothing, not even a FIFO.
func readRegular(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &openError{"there is no such file", ErrNotFound}
	}
	if err != nil {
		return nil, innermost(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, innermost(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxValue:
		return nil, errTooLong
	}
	return readBounded(file)
}

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxValue+1))
	switch {
	case err != nil:
		return nil, innermost(err)
	case len(text) > maxValue:
		return nil, errTooLong
	}
	return text, nil
}

// The formats of files and outputs.
const (
	formatFile   = "file"   // a text, or a value in it where that is JSON
	formatDotenv = "dotenv" // variables
	formatJSON   = "json"   // values at pointers
	formatBase64 = "base64" // the same, in base64

	formatEnviron = "environ" // variables, each ended by a NUL

	formatKeyring = "keyring" // no file: the items of the OS keyring
	formatKernel  = "kernel"  // nor here: the keys that the kernel keeps
)

// finder reads text in a format and returns what finds a field in it.
func finder(format string, text []byte) (func(field string) ([]byte, error), error) {
	switch format {
	case formatFile, formatJSON:
		return func(field string) ([]byte, error) { return pointed(text, field) }, nil
	case formatEnviron:
		return func(field string) ([]byte, error) { return variable(text, field) }, nil
	case formatBase64:
		return func(field string) ([]byte, error) {
			value, err := pointed(text, field)
			if err == nil {
				if value, err = base64.StdEncoding.AppendDecode(nil, value); err != nil {
					err = errors.New("it is not base64")
				}
			}
			return value, err
		}, nil
	}
	vars, err := ParseDotenv(text)
	if err != nil {
		return nil, err
	}
	return func(field string) ([]byte, error) {
		for _, v := range vars {
			if v.Name == field {
				return v.Value, nil
			}
		}
		return nil, &openError{"it has no such variable", ErrNotFound}
	}, nil
}

// variable is the value of a variable in an environment.
func variable(environ []byte, name string) ([]byte, error) {
	for _, entry := range bytes.Split(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			return value, nil
		}
	}
	return nil, &openError{"it has no such variable", ErrNotFound}
}

// pointed is the value in a JSON text at the first of some pointers, a line each,
// that leads to one. Where there is one at a pointer after a !, none further is tried.
func pointed(text []byte, pointers string) (value []byte, err error) {
	for pointer := range strings.SplitSeq(pointers, "\n") {
		last, stop := strings.CutPrefix(pointer, "!")
		found, failed := at(text, last)
		if stop && failed == nil {
			break
		}
		if !stop {
			value, err = found, failed
		}
		if err == nil || !errors.Is(err, ErrNotFound) {
			break
		}
	}
	return value, err
}

// at is the value in a JSON text at a pointer (RFC 6901): what a string stands for,
// anything else as it is written. With no pointer it is the text itself, without the
// newline that ends its last line. On the way a string that holds JSON is as good as
// that, and name=text leads into the first object of an array that has it.
func at(text []byte, pointer string) ([]byte, error) {
	if pointer == "" {
		return bytes.TrimSuffix(text, []byte("\n")), nil
	}
	if !json.Valid(text) {
		return nil, errors.New("it is not JSON")
	}
	for part := range strings.SplitSeq(pointer[1:], "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		next, err := member(text, part)
		if err != nil {
			return nil, err
		}
		text = next
	}
	text = bytes.TrimSpace(text)
	switch {
	case bytes.Equal(text, []byte("null")):
		return nil, &openError{"null stands there", ErrNotFound}
	case text[0] == '"':
		var value string
		err := json.Unmarshal(text, &value)
		return []byte(value), err
	}
	return text, nil
}

// member is the one of a JSON object or array that part names.
func member(text []byte, part string) ([]byte, error) {
	absent := &openError{"it has nothing there", ErrNotFound}
	var inner string
	if json.Unmarshal(text, &inner) == nil && json.Valid([]byte(inner)) {
		text = []byte(inner)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil {
		if value, ok := object[part]; ok {
			return value, nil
		}
		return nil, absent
	}
	var array []json.RawMessage
	if json.Unmarshal(text, &array) != nil {
		return nil, absent
	}
	if name, want, ok := strings.Cut(part, "="); ok {
		for _, item := range array {
			if value, err := at(item, "/"+escapePart(name)); err == nil && string(value) == want {
				return item, nil
			}
		}
	}
	i, err := strconv.Atoi(part)
	if err != nil || i < 0 || i >= len(array) || strconv.Itoa(i) != part {
		return nil, absent
	}
	return array[i], nil
}

// readProblem reads the problem of one field.
func readProblem(r io.Reader, h answerHead) (error, error) {
	problem := readError(r, answerHead{index: uint32(h.until), size: h.size})
	if _, ok := errors.AsType[*openError](problem); ok {
		return problem, nil
	}
	return nil, fmt.Errorf("reading an answer: %w", problem)
}

// keyringItems finds items of the OS keyring, named SERVICE/ACCOUNT, whoever wrote
// them. After one that it was not given in time it asks for no other.
func keyringItems() (func(name string) ([]byte, error), error) {
	if err := reachKeyring(); err != nil {
		return nil, err
	}
	limit := askTime()
	var late error
	return func(name string) ([]byte, error) {
		if late != nil {
			return nil, late
		}
		slash := strings.LastIndexByte(name, '/')
		select {
		case r := <-askKeyring(func() (string, error) { return keyrings.Get(name[:slash], name[slash+1:]) }):
			switch {
			case errors.Is(r.err, keyrings.ErrNotFound):
				return nil, &openError{"the OS keyring has no such item", ErrNotFound}
			case r.err != nil:
				return nil, fmt.Errorf("%w: %w", ErrKeyring, r.err)
			}
			return []byte(r.answer), nil
		case <-time.After(limit):
			late = slowKeyring(limit)
			return nil, late
		}
	}, nil
}
