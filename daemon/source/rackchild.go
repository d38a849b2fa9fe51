package source

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	keyrings "github.com/zalando/go-keyring"

	"keyrack/daemon/harden"
)

// request is what a process that opens the rack is asked, over its standard input:
// what it works on is in no list of processes.
type request struct {
	verb, dir, site string
	limit           time.Duration
	key, value      []byte
	names           []string
}

const (
	verbRead   = "read"
	verbList   = "list"
	verbSet    = "set"
	verbRemove = "remove"
	verbCheck  = "check"
	verbFields = "fields" // of the file site, whose format is value
	verbRun    = "run"    // not the rack's: see Runner
)

// fixedParts are the parts of a request before the names. maxParts and maxRequest
// bound one, in parts and in bytes.
const (
	fixedParts = 6
	maxParts   = 1 << 20
	maxRequest = maxRack
)

// write sends the parts, each after its length, the number of parts first. The key
// and the value go from where they are.
func (q request) write(w io.Writer) error {
	head := binary.BigEndian.AppendUint32(nil, uint32(fixedParts+len(q.names)))
	for _, part := range []string{q.verb, q.dir, q.site, q.limit.String()} {
		head = append(binary.BigEndian.AppendUint32(head, uint32(len(part))), part...)
	}
	var names []byte
	for _, name := range q.names {
		names = append(binary.BigEndian.AppendUint32(names, uint32(len(name))), name...)
	}
	for _, piece := range [][]byte{
		binary.BigEndian.AppendUint32(head, uint32(len(q.key))), q.key,
		binary.BigEndian.AppendUint32(nil, uint32(len(q.value))), q.value, names,
	} {
		if len(piece) == 0 {
			continue
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

func readRequest(r io.Reader) (q request, err error) {
	var count uint32
	if err := binary.Read(r, binary.BigEndian, &count); err != nil {
		return q, err
	}
	if count < fixedParts || count > maxParts {
		return q, errRequest
	}
	parts := make([][]byte, count)
	left := maxRequest
	for i := range parts {
		var size uint32
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return q, err
		}
		if left -= int(size); left < 0 {
			return q, errRequest
		}
		parts[i] = make([]byte, size)
		if _, err := io.ReadFull(r, parts[i]); err != nil {
			return q, err
		}
	}
	q = request{verb: string(parts[0]), dir: string(parts[1]), site: string(parts[2]), key: parts[4], value: parts[5]}
	if q.limit, err = time.ParseDuration(string(parts[3])); err != nil {
		return q, errRequest
	}
	for _, name := range parts[fixedParts:] {
		q.names = append(q.names, string(name))
	}
	return q, nil
}

var errRequest = errors.New("keyrack calls this itself")

// RackChild is the process that opens a rack: `keyrack __rack`. It closes itself to
// others first, reads one request, answers it and ends; at its limit it ends
// without an answer, and so it does when stdin ends, which means that its parent is
// gone. The result is the exit code.
func RackChild(stdin io.Reader, stdout io.Writer) int {
	closeInherited()
	if _, err := harden.Close(); err != nil {
		return childReply(stdout, nil, err)
	}
	input := bufio.NewReader(stdin)
	q, err := readRequest(input)
	if err != nil {
		return childReply(stdout, nil, errRequest)
	}
	time.AfterFunc(q.limit, func() { syscall.Exit(childGaveUp) })
	go func() {
		io.Copy(io.Discard, input)
		syscall.Exit(childGaveUp)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), q.limit)
	defer cancel()
	out := bufio.NewWriterSize(stdout, 64<<10)
	return childReply(out, out.Flush, q.answer(ctx, out))
}

// childReply ends an answer.
func childReply(w io.Writer, flush func() error, err error) int {
	code := 0
	end := answerHead{kind: answerDone}.append(nil)
	if err != nil {
		code = childFailed
		text := oneLine([]byte(err.Error()))
		end = append(answerHead{kind: answerError, index: typeOf(err), size: uint32(len(text))}.append(nil), text...)
	}
	if _, err := w.Write(end); err != nil {
		return childFailed
	}
	if flush != nil && flush() != nil {
		return childFailed
	}
	return code
}

// typeOf is the place of err among those that are typed, or one that none has.
func typeOf(err error) uint32 {
	for i, is := range typed {
		if errors.Is(err, is) {
			return uint32(i)
		}
	}
	return uint32(len(typed))
}

// answer does what q asks for and writes all but the end of the answer.
func (q request) answer(ctx context.Context, w io.Writer) error {
	if q.verb == verbFields {
		return q.fields(w)
	}
	rack := Rack{q.dir}
	key := q.key
	if len(key) == 0 && q.verb != verbCheck {
		var err error
		if key, err = rack.keyHere(); err != nil {
			return err
		}
	}
	switch {
	case q.verb == verbRead:
		return q.read(ctx, rack, key, w)
	case q.verb == verbList:
		return q.list(ctx, rack, key, w)
	case q.verb == verbSet && len(q.names) == 1:
		return rack.Set(ctx, key, q.site, q.names[0], q.value)
	case q.verb == verbRemove && len(q.names) == 1:
		return rack.Remove(ctx, key, q.site, q.names[0])
	case q.verb == verbCheck:
		return rack.CheckKey(key)
	}
	return errRequest
}

func (q request) read(ctx context.Context, rack Rack, key []byte, w io.Writer) error {
	values, err := rack.Read(ctx, key, q.site, q.names)
	if err != nil {
		return err
	}
	for i, name := range q.names {
		value, ok := values[name]
		if !ok {
			continue
		}
		// The rack ends no value by itself: until is for sources that do.
		if _, err := w.Write(answerHead{kind: answerValue, index: uint32(i), size: uint32(len(value))}.append(nil)); err != nil {
			return err
		}
		if _, err := w.Write(value); err != nil {
			return err
		}
	}
	return nil
}

func (q request) list(ctx context.Context, rack Rack, key []byte, w io.Writer) error {
	items, err := rack.List(ctx, key, q.site)
	for _, item := range items {
		h := answerHead{kind: answerItem, index: uint32(len(item.Site)), size: uint32(len(item.Site) + len(item.Name))}
		if _, err := w.Write(append(append(h.append(nil), item.Site...), item.Name...)); err != nil {
			return err
		}
	}
	return err
}

// keyHere is Key for a process that can be killed: the OS keyring is asked by this
// process itself.
func (r Rack) keyHere() ([]byte, error) {
	kind, err := r.Kind()
	if err != nil || kind != Keyring {
		return r.Key(context.Background(), "")
	}
	if err := reachKeyring(); err != nil {
		return nil, err
	}
	limit := askTime()
	select {
	case r := <-askKeyring(func() (string, error) { return childAnswer("get", "") }):
		switch {
		case errors.Is(r.err, keyrings.ErrNotFound):
			return nil, keyIsGone()
		case r.err != nil:
			return nil, fmt.Errorf("%w: %w", ErrKeyring, r.err)
		}
		return checkItem([]byte(r.answer))
	case <-time.After(limit):
		return nil, slowKeyring(limit)
	}
}

// reachKeyring gives this process the environment in which the OS keyring can be
// asked.
func reachKeyring() error {
	environ, err := keyringEnvironment() // with the address of the user's D-Bus
	if err != nil {
		return err
	}
	os.Clearenv()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		os.Setenv(name, value)
	}
	return nil
}
