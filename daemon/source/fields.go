package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// maxValue bounds a value, and a file or an output that has some, in bytes.
const maxValue = 1 << 20

var errTooLong = errors.New("over 1 MiB")

// fields answers for one file with a value or a problem for each name. It runs in
// a process of its own, as what opens the rack does.
func (q request) fields(w io.Writer) error {
	text, err := readRegular(q.site)
	var find func(field string) ([]byte, error)
	if err == nil {
		find, err = finder(string(q.value), text)
	}
	for i, name := range q.names {
		value, problem := []byte(nil), err
		if problem == nil {
			value, problem = find(name)
		}
		h := answerHead{kind: answerValue, index: uint32(i)}
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
	text, err := io.ReadAll(io.LimitReader(file, maxValue+1))
	switch {
	case err != nil:
		return nil, innermost(err)
	case len(text) > maxValue:
		return nil, errTooLong
	}
	return text, nil
}

// finder reads text in the format of a scheme and returns what finds a field in it.
func finder(scheme string, text []byte) (func(field string) ([]byte, error), error) {
	if scheme != "dotenv" {
		return func(field string) ([]byte, error) { return pointed(text, field) }, nil
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

// pointed is the value in a JSON text at a pointer (RFC 6901): what a string
// stands for, anything else as it is written. With no pointer it is the text
// itself, without the newline that ends its last line.
func pointed(text []byte, pointer string) ([]byte, error) {
	if pointer == "" {
		return bytes.TrimSuffix(text, []byte("\n")), nil
	}
	if !json.Valid(text) {
		return nil, errors.New("it is not JSON")
	}
	for _, part := range strings.Split(pointer[1:], "/") {
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
	absent := &openError{"nothing is at that pointer", ErrNotFound}
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil {
		if value, ok := object[part]; ok {
			return value, nil
		}
		return nil, absent
	}
	var array []json.RawMessage
	i, err := strconv.Atoi(part)
	if json.Unmarshal(text, &array) != nil || err != nil || i < 0 || i >= len(array) || strconv.Itoa(i) != part {
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
