package cmd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"keyrack/shells"
)

// demoRC is the start-up file of each shell: a prompt that numbers the lines and
// counts the value, then the hook, as a person would write it. The count is of
// the environment and of the shell's own variables.
var demoRC = map[shells.Shell]struct{ file, text string }{
	shells.Bash: {".bashrc", `N=0
held() { (set -o posix; env; set) | ` + demoCount + `; }
PS1='[$((++N)), held here: $(held)] \W \$ '
eval "$(keyrack hook bash)"
`},
	shells.Zsh: {".zshrc", `N=0
unsetopt prompt_sp prompt_cr zle
setopt prompt_subst
held() { (env; set) | ` + demoCount + `; }
PROMPT='[$((++N)), held here: $(held)] %1~ %# '
eval "$(keyrack hook zsh)"
`},
	shells.Fish: {".config/fish/config.fish", `set -g N 0
set -g fish_greeting
set -g fish_autosuggestion_enabled 0
function held
    begin; env; set; end | ` + demoCount + `
end
function number --on-event fish_prompt
    set -g N (math $N + 1)
end
function fish_prompt
    printf '[%s, held here: %s] %s > ' $N (held) (prompt_pwd)
end
keyrack hook fish | source
`},
}

// demoTerminal is the shell on a terminal that knows no escapes, whose output is
// shown line by line as it comes.
type demoTerminal struct {
	cmd    *exec.Cmd
	tty    *os.File
	lines  chan string // what the shell printed; closed at its end
	text   strings.Builder
	shown  int // of text, on standard error
	number string
}

func openTerminal(c *exec.Cmd) (*demoTerminal, error) {
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 50, Cols: 250})
	if err != nil {
		return nil, err
	}
	t := &demoTerminal{cmd: c, tty: tty, lines: make(chan string)}
	go func() {
		defer close(t.lines)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			if err != nil {
				return
			}
			t.lines <- string(buf[:n])
		}
	}()
	return t, nil
}

// demoPrompt is the prompt of the start-up files, with its number and its count.
var demoPrompt = regexp.MustCompile(`\[(\d+), held here: (\d+)\] [^\n]*[$%#>] $`)

// prompt waits for the first prompt.
func (t *demoTerminal) prompt(ctx context.Context) error {
	_, _, err := t.next(ctx)
	return err
}

// line types one line, shows what comes of it, and returns that and the count of
// the prompt after it.
func (t *demoTerminal) line(ctx context.Context, text string) (shown, held string, err error) {
	if _, err := t.tty.WriteString(text + "\r"); err != nil {
		return "", "", fmt.Errorf("typing into the shell: %w", err)
	}
	return t.next(ctx)
}

// next shows complete lines until a new prompt stands at the end.
func (t *demoTerminal) next(ctx context.Context) (shown, held string, err error) {
	from := t.shown
	for {
		if m := demoPrompt.FindStringSubmatch(tidy(t.text.String()[t.shown:])); m != nil && m[1] != t.number {
			t.number = m[1]
			_, shown, _ = strings.Cut(tidy(t.text.String()[from:t.shown]), "\n") // the line itself is not of it
			return shown, m[2], nil
		}
		select {
		case <-ctx.Done():
			return "", "", fmt.Errorf("the demo was given up: %w", context.Cause(ctx))
		case more, open := <-t.lines:
			if !open {
				return "", "", fmt.Errorf("the shell ended by itself")
			}
			t.text.WriteString(more)
			t.show()
		}
	}
}

// show prints the lines that are complete.
func (t *demoTerminal) show() {
	rest := t.text.String()[t.shown:]
	end := strings.LastIndexByte(rest, '\n') + 1
	fmt.Fprint(os.Stderr, tidy(rest[:end]))
	t.shown += end
}

var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]P_^][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[ -/]*[0-~]")

// tidy leaves of each line what a person sees of it: a line editor draws a line
// anew after each key.
func tidy(raw string) string {
	lines := strings.Split(escapes.ReplaceAllString(raw, ""), "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, "\r")
		lines[i] = line[strings.LastIndexByte(line, '\r')+1:]
	}
	return strings.Join(lines, "\n")
}

// hangUp closes the terminal, as a window does, and makes sure that the shell ends.
func (t *demoTerminal) hangUp() {
	unix.Kill(-t.cmd.Process.Pid, unix.SIGHUP)
	t.tty.Close()
	kill := time.AfterFunc(time.Second, func() { unix.Kill(-t.cmd.Process.Pid, unix.SIGKILL) })
	defer kill.Stop()
	go func() {
		for range t.lines { // so that the reader ends
		}
	}()
	t.cmd.Wait() // how it ended is of no matter
}
