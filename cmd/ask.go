package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// maxAnswer bounds what is read as an answer, in bytes.
const maxAnswer = 1 << 20

var (
	errNoAnswer = errors.New("no answer")
	errTooLong  = fmt.Errorf("the answer is over %d MiB", maxAnswer>>20)
)

// interrupted ends the program as the shell says it of Ctrl-C.
const interrupted = codeError(128 + int(syscall.SIGINT))

// onTerminal says whether a person can be asked.
func onTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// prompt shows what is asked. It does so on the terminal, also where standard
// error goes somewhere else.
func prompt(text string) {
	to := os.Stderr
	if !term.IsTerminal(int(to.Fd())) {
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			defer tty.Close()
			to = tty
		}
	}
	fmt.Fprint(to, text)
}

// questions asks a person at the terminal on standard input. It keeps what was
// typed ahead of a question for the next one.
type questions struct{ ahead []byte }

// visible asks for a line that may be seen.
func (q *questions) visible(question string) (string, error) {
	prompt("keyrack: " + question)
	line := make([]byte, 4<<10)
	n, err := os.Stdin.Read(line) // a terminal gives a line at a time
	if n == 0 {
		prompt("\n")
		return "", errors.Join(errNoAnswer, ignoreEOF(err))
	}
	return string(bytes.TrimSpace(line[:n])), nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// errPasted says that more lines came with an answer of one.
var errPasted = errors.New("more than one line was pasted")

// hidden asks for a line that is not shown. The terminal is as it was before
// hidden returns, and also where a signal ends or stops the program meanwhile. It
// is not used in its own line mode: that would cut an answer of over 4095 bytes
// and let Ctrl-C end a script that waits for this program. After the last question
// a line that follows at once is errPasted: a key of many lines. The caller wipes
// the answer.
func (q *questions) hidden(question string, last bool) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("asking on the terminal: %w", err)
	}
	continued, restore := restoreAt(fd, before)
	prompt("keyrack: " + question)
	answer, err := q.line(func() {
		term.Restore(fd, before)
		syscall.Kill(0, syscall.SIGTSTP)
		select { // the signal stops this process a moment after it was sent, or not at all
		case <-continued:
		case <-time.After(stopTime):
		}
		term.MakeRaw(fd)
		prompt("keyrack: " + question)
	})
	if err == nil && last && q.pasted() {
		clear(answer)
		err = errPasted
	}
	restore()
	prompt("\n")
	return answer, err
}

// stopTime is how soon Ctrl-Z stops a process, where anything does.
const stopTime = 200 * time.Millisecond

// restoreAt sees to it that the terminal is as before where a signal ends the
// program, and raw again where it goes on after having been stopped, which
// continued tells. restore ends that, and restores.
func restoreAt(fd int, before *term.State) (continued chan struct{}, restore func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGCONT)
	done, ended := make(chan struct{}), make(chan struct{})
	continued = make(chan struct{}, 1)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if s != syscall.SIGCONT {
					term.Restore(fd, before)
					signal.Reset(s)
					syscall.Kill(os.Getpid(), s.(syscall.Signal))
					continue
				}
				term.MakeRaw(fd)
				select {
				case continued <- struct{}{}:
				default:
				}
			}
		}
	}()
	return continued, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		term.Restore(fd, before)
	}
}

// line reads keys up to Enter.
func (q *questions) line(suspend func()) ([]byte, error) {
	a := &answer{text: make([]byte, 0, 4<<10)}
	for {
		for i, key := range q.ahead {
			if key == 'Z'-'@' {
				suspend()
				continue
			}
			end, err := a.key(key)
			if end {
				q.ahead = q.ahead[i+1:]
				return a.text, err
			}
		}
		keys := make([]byte, 4<<10)
		n, err := os.Stdin.Read(keys)
		if n == 0 {
			clear(a.text)
			return nil, errors.Join(errNoAnswer, ignoreEOF(err))
		}
		clear(q.ahead)
		q.ahead = keys[:n]
	}
}

// answer is a hidden line while it is typed. odd says that it holds a key that
// stands for no text, such as an arrow.
type answer struct {
	text []byte
	odd  bool
}

// key takes one byte. It says whether that ends the line.
func (a *answer) key(key byte) (end bool, err error) {
	const backspace = 0x7f
	switch {
	case key == '\r' || key == '\n':
		return true, a.check()
	case key == 'C'-'@':
		return true, a.fail(interrupted)
	case key == 'D'-'@' && len(a.text) == 0:
		return true, a.fail(errNoAnswer)
	case key == 'U'-'@':
		a.fail(nil)
		a.odd = false
	case key == backspace || key == '\b':
		_, size := utf8.DecodeLastRune(a.text)
		a.text = a.text[:len(a.text)-size]
	case key < ' ' && key != '\t':
		a.odd = true
	default:
		a.add(key)
	}
	if len(a.text) > maxAnswer {
		return true, a.fail(errTooLong)
	}
	return false, nil
}

// add appends one byte, and wipes the buffer that it grew out of.
func (a *answer) add(key byte) {
	if len(a.text) == cap(a.text) {
		bigger := make([]byte, len(a.text), 2*cap(a.text))
		copy(bigger, a.text)
		clear(a.text)
		a.text = bigger
	}
	a.text = append(a.text, key)
}

func (a *answer) check() error {
	if a.odd {
		return a.fail(errors.New("a control character was typed: what is hidden takes text alone, the rest goes through standard input"))
	}
	return nil
}

// fail wipes what was typed and returns err.
func (a *answer) fail(err error) error {
	clear(a.text)
	a.text = a.text[:0]
	return err
}

// pasteTime is how soon the rest of a paste follows its first line.
const pasteTime = 50 * time.Millisecond

// pasted says whether more lines came with the last answer, and takes them away:
// left alone, a shell would run them.
func (q *questions) pasted() (more bool) {
	for {
		more = more || len(bytes.Trim(q.ahead, "\r\n")) > 0
		clear(q.ahead)
		q.ahead = nil
		ready := []unix.PollFd{{Fd: int32(os.Stdin.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(pasteTime.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return more
		}
		keys := make([]byte, 4<<10)
		size, err := os.Stdin.Read(keys)
		if size == 0 || err != nil {
			return more
		}
		q.ahead = keys[:size]
	}
}

// readInput reads standard input, up to its end or, with line, its first line.
// The caller wipes it.
func readInput(line bool) ([]byte, error) {
	text := make([]byte, 0, 4<<10)
	for {
		if len(text) == cap(text) {
			bigger := make([]byte, len(text), 2*cap(text))
			copy(bigger, text)
			clear(text)
			text = bigger
		}
		n, err := os.Stdin.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		end := bytes.IndexByte(text, '\n')
		switch {
		case line && end >= 0:
			clear(text[end:])
			return bytes.TrimSuffix(text[:end], []byte("\r")), nil
		case errors.Is(err, io.EOF):
			return text, nil
		case err == nil && len(text) > maxAnswer:
			err = fmt.Errorf("over %d MiB", maxAnswer>>20)
		}
		if err != nil {
			clear(text)
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
}
