package cmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/term"

	"keyrack/shells"
)

// shortest is the length in bytes of the shortest value that is masked: shorter ones
// stand in much that is no secret.
const shortest = 8

// masked is a value and what stands in its place.
type masked struct{ value, name []byte }

// masksFor are the masks of vars, longest value first. Of a value that ends in line
// ends what stands before them is masked as well, since programs often drop them.
// It says aloud which values it leaves alone.
func masksFor(vars []shells.Var) []masked {
	var all []masked
	for _, v := range vars {
		value := bytes.TrimRight(v.Value, "\r\n")
		if len(value) < shortest {
			say("%s is shorter than %d bytes and is not masked", v.Name, shortest)
			continue
		}
		all = append(all, masked{value, []byte("[" + v.Name + " masked]")})
	}
	slices.SortStableFunc(all, func(a, b masked) int { return len(b.value) - len(a.value) })
	return all
}

// masker writes to w what is written to it, with values masked, also where a value
// comes in parts. It holds back what may be the beginning of a value, which is less
// than the longest one, until more comes or Close is called.
type masker struct {
	w     io.Writer
	masks []masked
	held  []byte
	next  []int // by mask: where its value stands in held, past the end for nowhere
}

// Write is io.Writer.
func (m *masker) Write(p []byte) (int, error) {
	m.held = append(m.held, p...)
	if err := m.flush(m.partial()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was held back. It does not close the writer underneath.
func (m *masker) Close() error { return m.flush(0) }

// flush writes all but what may be the beginning of a value: the last keep bytes,
// unless a value that begins before them ends in them.
func (m *masker) flush(keep int) error {
	out := m.held[:0:0]
	from, end := 0, len(m.held)-keep
	m.next = m.next[:0]
	for _, mask := range m.masks {
		m.next = append(m.next, find(m.held, mask.value, 0))
	}
	for {
		first := -1
		for i, at := range m.next {
			if at < end && (first < 0 || at < m.next[first]) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		at := m.next[first]
		out = append(append(out, m.held[from:at]...), m.masks[first].name...)
		from = at + len(m.masks[first].value)
		for i, mask := range m.masks {
			if m.next[i] < from {
				m.next[i] = find(m.held, mask.value, from)
			}
		}
	}
	if from < end {
		out = append(out, m.held[from:end]...)
		from = end
	}
	m.held = append(m.held[:0], m.held[from:]...)
	if len(out) == 0 {
		return nil
	}
	_, err := m.w.Write(out)
	return err
}

// find is where value stands in b from from on, len(b) for nowhere.
func find(b, value []byte, from int) int {
	if at := bytes.Index(b[from:], value); at >= 0 {
		return from + at
	}
	return len(b)
}

// partial is the length of the longest end of held that begins a value.
func (m *masker) partial() int {
	longest := 0
	for _, mask := range m.masks {
		tail := m.held[max(0, len(m.held)-len(mask.value)+1):]
		for len(tail) > longest {
			at := bytes.IndexByte(tail, mask.value[0])
			if at < 0 {
				break
			}
			tail = tail[at:]
			if bytes.HasPrefix(mask.value, tail) {
				longest = max(longest, len(tail))
				break
			}
			tail = tail[1:]
		}
	}
	return longest
}

// runMasked runs the program of argv with values masked in its standard output and
// its standard error, as far as they are not terminals, and returns its exit code as
// an error. Where both are, the program takes this process's place.
func runMasked(argv, environ []string, vars []shells.Var) error {
	masks := masksFor(vars)
	if term.IsTerminal(1) && term.IsTerminal(2) {
		say("nothing is masked on a terminal")
		return replace(argv, environ)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return notRunnable(argv[0], err)
	}
	cmd := &exec.Cmd{Path: path, Args: argv, Env: environ, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	var maskers []*masker
	for _, stream := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		if !term.IsTerminal(int((*stream).(*os.File).Fd())) {
			m := &masker{w: *stream, masks: masks}
			maskers = append(maskers, m)
			*stream = m
		}
	}
	heard := make(chan os.Signal, 8)
	signal.Notify(heard, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := cmd.Start(); err != nil {
		return notRunnable(argv[0], err)
	}
	go forward(cmd.Process, heard)
	err = cmd.Wait()
	for _, m := range maskers {
		err = errors.Join(err, m.Close())
	}
	if state, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return codeError(128 + int(status.Signal()))
		}
		return codeError(state.ExitCode())
	}
	return err
}

// forward passes on to the program what this process has heard. What a terminal tells
// the program has heard by itself.
func forward(program *os.Process, heard <-chan os.Signal) {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err == nil {
		terminal.Close()
	}
	for s := range heard {
		if err != nil || s != syscall.SIGINT && s != syscall.SIGQUIT {
			_ = program.Signal(s) // one that has ended hears nothing
		}
	}
}
