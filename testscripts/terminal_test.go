package testscripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// terminal is a program on a pseudo-terminal of its own, 400 columns wide so
// that nothing wraps. Everything that it ever showed is kept.
type terminal struct {
	cmd  *exec.Cmd
	tty  *os.File
	exit chan struct{} // closed when the program has ended and all output is read
	code int           // valid after exit

	mu      sync.Mutex
	raw     []byte
	asked   int           // queries of the program up to here are answered
	changed chan struct{} // closed and replaced at each output

	sent   int    // where raw stood at the last input
	serial string // serial number of the last prompt seen
	status string // $? of the last prompt seen
}

// The prompt that the rc files set: <KT:STATUS:SERIAL>. What is typed never
// looks like this, because there the digits are still expansions.
var prompt = regexp.MustCompile(`<KT:(\d+):(\d+)>`)

func start(cmd *exec.Cmd) (*terminal, error) {
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 400})
	if err != nil {
		return nil, err
	}
	t := &terminal{cmd: cmd, tty: tty, exit: make(chan struct{}), changed: make(chan struct{})}
	go t.read()
	return t, nil
}

func (t *terminal) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := t.tty.Read(buf)
		if n > 0 {
			t.mu.Lock()
			t.raw = append(t.raw, buf[:n]...)
			answer := t.answerLocked()
			close(t.changed)
			t.changed = make(chan struct{})
			t.mu.Unlock()
			_, _ = t.tty.WriteString(answer)
		}
		if err != nil {
			break
		}
	}
	_ = t.cmd.Wait()
	t.code = t.cmd.ProcessState.ExitCode()
	if ws, ok := t.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		t.code = 128 + int(ws.Signal())
	}
	close(t.exit)
}

// queries are what line editors ask a terminal, and what a plain one answers.
var queries = regexp.MustCompile("\x1b\\[0?c|\x1b\\[6n|\x1b\\[5n")

func (t *terminal) answerLocked() string {
	var answer strings.Builder
	for _, at := range queries.FindAllIndex(t.raw[t.asked:], -1) {
		switch q := string(t.raw[t.asked+at[0] : t.asked+at[1]]); q[len(q)-2:] {
		case "6n":
			answer.WriteString("\x1b[1;1R")
		case "5n":
			answer.WriteString("\x1b[0n")
		default:
			answer.WriteString("\x1b[?62;22c")
		}
	}
	// A query may be cut by the buffer's end: look at its start once more.
	if i := strings.LastIndexByte(string(t.raw), '\x1b'); i >= t.asked && len(t.raw)-i < 4 {
		t.asked = i
	} else {
		t.asked = len(t.raw)
	}
	return answer.String()
}

func (t *terminal) text() (string, chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.raw), t.changed
}

var errEnded = errors.New("the program on the terminal has ended")

// wait returns what cond makes of the raw output, as soon as cond accepts it.
func (t *terminal) wait(what string, cond func(raw string) bool) error {
	deadline := time.After(patience)
	for {
		raw, changed := t.text()
		if cond(raw) {
			return nil
		}
		select {
		case <-changed:
		case <-t.exit:
			if raw, _ := t.text(); cond(raw) {
				return nil
			}
			return errEnded
		case <-deadline:
			return fmt.Errorf("waited %v for %s; since the last input the terminal showed:\n%s", patience, what, mask(clean(raw[t.sent:])))
		}
	}
}

// send types bytes.
func (t *terminal) send(keys string) error {
	raw, _ := t.text()
	t.sent = len(raw)
	_, err := t.tty.WriteString(keys)
	return err
}

// What the shell writes when it has taken a line and is about to run it: the
// end of bracketed paste (readline, zle), or the mark of our fish rc file.
const (
	takenLine     = "\x1b[?2004l"
	takenLineFish = "\x1b]777;kt\a"
)

// line types one command line and waits for the next prompt. It returns what was
// shown from the moment the shell took the line up to that prompt.
func (t *terminal) line(text, family string) (string, error) {
	if err := t.send(text + "\r"); err != nil {
		return "", err
	}
	if strings.TrimSpace(text) == "" { // nothing is run: not every line editor marks that
		return t.nextPrompt(t.sent, true)
	}
	taken := takenLine
	if family == "fish" {
		taken = takenLineFish
	}
	var from int
	err := t.wait("the shell to take the line", func(raw string) bool {
		i := strings.Index(raw[t.sent:], taken)
		from = t.sent + i + len(taken)
		return i >= 0
	})
	if err != nil {
		return "", err
	}
	shown, err := t.nextPrompt(from, false)
	if family == "zsh" { // zle moves to the next line after it has taken this one
		shown = strings.TrimPrefix(shown, "\n")
	}
	return shown, err
}

// nextPrompt waits for a prompt after offset from; fresh: one with another serial number.
func (t *terminal) nextPrompt(from int, fresh bool) (string, error) {
	var shown string
	err := t.wait("a prompt", func(raw string) bool {
		for _, m := range prompt.FindAllStringSubmatchIndex(raw[from:], -1) {
			serial := raw[from+m[4] : from+m[5]]
			if fresh && serial == t.serial {
				continue
			}
			t.status, t.serial = raw[from+m[2]:from+m[3]], serial
			shown = raw[from : from+m[0]]
			return true
		}
		return false
	})
	if errors.Is(err, errEnded) {
		raw, _ := t.text()
		return clean(raw[from:]), err
	}
	// A line editor says "line taken" again where the line went on; the output is what follows the last.
	if i := strings.LastIndex(shown, takenLine); i >= 0 && !fresh {
		shown = shown[i+len(takenLine):]
	}
	return clean(shown), err
}

// finished waits for the program's end and returns its exit code.
func (t *terminal) finished() (int, error) {
	select {
	case <-t.exit:
		return t.code, nil
	case <-time.After(patience):
		raw, _ := t.text()
		return 0, fmt.Errorf("the program on the terminal has not ended after %v; it showed:\n%s", patience, mask(clean(raw[t.sent:])))
	}
}

// hangUp closes the terminal, as a window does, and makes sure that the program ends.
func (t *terminal) hangUp() {
	select {
	case <-t.exit:
	default:
		_ = syscall.Kill(-t.cmd.Process.Pid, syscall.SIGHUP)
		_ = syscall.Kill(-t.cmd.Process.Pid, syscall.SIGCONT)
		select {
		case <-t.exit:
		case <-time.After(3 * time.Second):
			_ = syscall.Kill(-t.cmd.Process.Pid, syscall.SIGKILL)
			_ = t.tty.Close()
			<-t.exit
		}
	}
	_ = t.tty.Close()
}

// leaks names the secrets whose value was ever shown.
func (t *terminal) leaks() string {
	raw, _ := t.text()
	return mask(strings.Join(canary.FindAllString(clean(raw), -1), " "))
}

var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]" + // CSI
	"|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)" + // OSC, DCS and other strings
	"|\x1b[ -/]*[0-~]") // charset, keypad, two-byte

// returns are carriage returns, and the mark that fish wipes away again where the last line had an end.
var returns = regexp.MustCompile("\u23ce *\r\u23ce ?\r|[\r\x0e\x0f]")

// clean removes what is for the terminal, not for the person.
func clean(raw string) string {
	return returns.ReplaceAllString(escapes.ReplaceAllString(raw, ""), "")
}
