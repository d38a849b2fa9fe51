package testscripts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdShell opens an interactive shell of the variant on a terminal.
//
//	shell [-before FILE] [-after FILE] [-nohook] [-name NAME] [-trace FILE] [-keeprc]
func cmdShell(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if w.variant.family == "" {
		ts.Fatalf("shell: only in testdata/shell")
	}
	var before, after, trace string
	name, hook, keep := "main", true, false
	for len(args) > 0 {
		flag := args[0]
		args = args[1:]
		value := func() string {
			if len(args) == 0 {
				ts.Fatalf("shell: %s needs a value", flag)
			}
			v := args[0]
			args = args[1:]
			return v
		}
		switch flag {
		case "-before":
			before = ts.ReadFile(value())
		case "-after":
			after = ts.ReadFile(value())
		case "-nohook":
			hook = false
		case "-keeprc":
			keep = true
		case "-name":
			name = value()
		case "-trace":
			trace = ts.MkAbs(value())
		default:
			ts.Fatalf("shell: unknown argument %s", flag)
		}
	}
	if !keep {
		ts.Check(w.writeRC(before, after, hook))
	}
	argv := []string{w.variant.path(), "-i"}
	if trace != "" {
		argv = append([]string{"strace", "-f", "-qq", "-e", "trace=%process,%file", "-e", "signal=none", "-o", trace}, argv...)
	}
	w.open(ts, name, argv)
	shown, err := w.current.nextPrompt(0, false)
	if err != nil {
		ts.Fatalf("shell: %v\n%s", err, mask(shown))
	}
	w.show(ts, shown)
}

// cmdTerminal runs one program on a terminal: terminal [-name NAME] PROGRAM ARG...
func cmdTerminal(ts *testscript.TestScript, neg bool, args []string) {
	name := "main"
	if len(args) > 1 && args[0] == "-name" {
		name, args = args[1], args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: terminal [-name NAME] PROGRAM ARG...")
	}
	worldOf(ts).open(ts, name, args)
}

func (w *world) open(ts *testscript.TestScript, name string, argv []string) {
	if old := w.terminals[name]; old != nil {
		select {
		case <-old.exit:
		default:
			ts.Fatalf("a terminal %s is open already", name)
		}
		if found := old.leaks(); found != "" {
			ts.Fatalf("terminal %s showed a secret value: %s", name, found)
		}
	}
	cmd := exec.Command(w.program(argv[0]), argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(environment(ts), "PWD="+cmd.Dir)
	term, err := start(cmd)
	ts.Check(err)
	w.terminals[name] = term
	w.current, w.last = term, name
}

// program finds a program as the script's PATH does: its own first.
func (w *world) program(name string) string {
	own := filepath.Join(w.work, "bin", name)
	if info, err := os.Stat(own); err == nil && !info.IsDir() && !strings.Contains(name, "/") {
		return own
	}
	return name
}

// cmdUse makes another terminal the current one: use NAME
func cmdUse(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || w.terminals[args[0]] == nil {
		ts.Fatalf("usage: use NAME, of an open terminal")
	}
	w.current, w.last = w.terminals[args[0]], args[0]
}

// terminal returns the current terminal.
func (w *world) terminal(ts *testscript.TestScript) *terminal {
	if w.current == nil {
		ts.Fatalf("no terminal is open")
	}
	return w.current
}

// show gives text to the script's stdout and stops it where that holds a value.
func (w *world) show(ts *testscript.TestScript, text string) {
	_, _ = ts.Stdout().Write([]byte(mask(text)))
	if found := w.current.leaks(); found != "" {
		ts.Fatalf("a secret value was shown on the terminal: %s", found)
	}
}

// waiting is what the hook says after half a second, which a machine with much
// to do takes at any time. Scripts about it use submit and expect.
const waiting = "keyrack: waiting for the daemon (Ctrl-C gives up)\n"

// cmdType types a line and waits for the next prompt. ! type is for a line that ends the shell.
func cmdType(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	term := w.terminal(ts)
	shown, err := term.line(strings.Join(args, " "), w.variant.family)
	w.show(ts, strings.ReplaceAll(shown, waiting, ""))
	switch {
	case neg && err == nil:
		ts.Fatalf("the shell is still there")
	case neg && !errors.Is(err, errEnded):
		ts.Fatalf("%v", err)
	case !neg && err != nil:
		ts.Fatalf("%v", err)
	}
}

// cmdSubmit types a line and does not wait: for what expect, send and prompt go on with.
func cmdSubmit(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(worldOf(ts).terminal(ts).send(strings.Join(args, " ") + "\r"))
}

var keys = map[string]string{
	"enter": "\r", "tab": "\t", "escape": "\x1b", "space": " ", "backspace": "\x7f",
	"ctrl-c": "\x03", "ctrl-d": "\x04", "ctrl-z": "\x1a", "ctrl-l": "\x0c", "ctrl-backslash": "\x1c",
	"ctrl-a": "\x01", "ctrl-u": "\x15", "ctrl-k": "\x0b", "ctrl-g": "\x07", "ctrl-t": "\x14",
	"up": "\x1b[A", "down": "\x1b[B", "left": "\x1b[D", "right": "\x1b[C",
	"alt-left": "\x1b[1;3D", "alt-right": "\x1b[1;3C", "alt-c": "\x1bc", "alt-x": "\x1bx",
}

// cmdSend presses keys by name; a word that is no name is typed as it is.
func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	term := worldOf(ts).terminal(ts)
	var all strings.Builder
	for _, arg := range args {
		if key, ok := keys[arg]; ok {
			all.WriteString(key)
		} else {
			all.WriteString(arg)
		}
	}
	ts.Check(term.send(all.String()))
}

// cmdExpect waits until what was shown since the last input matches: expect REGEXP
func cmdExpect(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: expect REGEXP")
	}
	w := worldOf(ts)
	term := w.terminal(ts)
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var shown string
	err = term.wait(args[0], func(raw string) bool {
		shown = clean(raw[term.sent:])
		return pattern.MatchString(shown)
	})
	w.show(ts, shown)
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

// cmdPrompt waits for a prompt that came after the last input, by keys.
func cmdPrompt(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	term := w.terminal(ts)
	shown, err := term.nextPrompt(term.sent, false)
	w.show(ts, shown)
	ts.Check(err)
}

// cmdRC compares $? as the last prompt showed it: rc N
func cmdRC(ts *testscript.TestScript, neg bool, args []string) {
	term := worldOf(ts).terminal(ts)
	if len(args) != 1 || (term.status == args[0]) == neg {
		ts.Fatalf("the prompt shows status %s, not %s", term.status, strings.Join(args, " "))
	}
}

// cmdClose ends the shell by exit, or waits for the program: close [CODE]
func cmdClose(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	term := w.terminal(ts)
	select {
	case <-term.exit:
	default:
		if w.variant.family != "" && term.serial != "" {
			ts.Check(term.send("exit\r"))
		}
	}
	code, err := term.finished()
	raw, _ := term.text()
	w.show(ts, clean(raw[term.sent:]))
	ts.Check(err)
	if len(args) == 1 && args[0] != itoa(code) {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}
