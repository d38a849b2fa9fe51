package cmd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"keyrack/daemon"
	"keyrack/daemon/wire"
	"keyrack/shells"
	"keyrack/worksite"
)

// demoTTL is short, so that its end can be watched. Values are held for whole
// command lines below.
const demoTTL = 3 * time.Second

// demoTime bounds the whole of it, on a machine that is busy too.
const demoTime = time.Minute

func demoCommand() *cobra.Command {
	var shellName string
	c := &cobra.Command{
		Use:   "demo",
		Short: "show all of it, live in your shell, in a throw-away home",
		Long: `Makes a throw-away home with a rack, a worksite and a daemon of its own, opens your
shell there and types a few lines: what you see is what the shell printed. Each
step is checked; the exit code is 1 when one did not do what it should. At the end
everything that it made is removed. It needs no network and no root.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
			defer cancel()
			ctx, cancel = context.WithTimeout(ctx, demoTime)
			defer cancel()
			shell, path, err := demoShell(c, shellName)
			if err != nil {
				return err
			}
			return runDemo(ctx, shell, path)
		},
	}
	c.Flags().StringVar(&shellName, "shell", "", "the shell to show it in: bash, zsh, fish (default: yours)")
	return c
}

// demoShell is the shell that was asked for, else the person's own, else bash.
func demoShell(c *cobra.Command, name string) (shells.Shell, string, error) {
	asked := name != ""
	if !asked {
		name = os.Getenv("SHELL")
	}
	shell, err := shells.Parse(name)
	switch {
	case err != nil && asked:
		return "", "", usage(c, err.Error())
	case err != nil:
		shell, name = shells.Bash, string(shells.Bash)
		say("there is no hook for the shell that SHELL names: the demo takes bash (--shell chooses)")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", "", fmt.Errorf("no %s here: %w", shell, err)
	}
	path, err = filepath.Abs(path)
	return shell, path, err
}

// demo is one run: a home below dir, and the shell on its terminal.
type demo struct {
	dir   string
	shell shells.Shell
	term  *demoTerminal
	value string // of the one secret, made up now
}

func runDemo(ctx context.Context, shell shells.Shell, path string) (err error) {
	d := &demo{shell: shell, value: demoValue()}
	if d.dir, err = os.MkdirTemp("", "krdemo"); err != nil {
		return fmt.Errorf("a home for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	if err := d.furnish(ctx); err != nil {
		return fmt.Errorf("preparing the demo: %w", err)
	}
	say("this is %s in a throw-away home; the prompt counts where the shell and its environment hold the value", path)
	if d.term, err = openTerminal(d.command(path)); err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	if err := d.term.prompt(ctx); err != nil {
		return err
	}
	for _, step := range d.steps() {
		if err := d.take(ctx, step); err != nil {
			return err
		}
	}
	say("that was all of it; everything that the demo made is removed now")
	return nil
}

// demoValue is a value of a form that the prompt can count and no text here has.
func demoValue() string {
	random := make([]byte, 6)
	rand.Read(random)
	return "demo-" + hex.EncodeToString(random)
}

// demoCount counts the value's form in what it reads.
const demoCount = `grep -Ec 'demo-[0-9a-f]{12}'`

// step is one line typed into the shell. Before it is read aloud, want must
// match what the shell prints for it, and never must not.
type step struct {
	say   string
	line  string
	wait  func(context.Context) error
	want  string
	never string
}

func (d *demo) steps() []step {
	value := regexp.QuoteMeta(d.value)
	return []step{
		{say: "a project asks for one secret, by name; its file holds no value", line: "cat acme/.keyrack.toml", want: "TOKEN", never: value},
		{say: "before: a command has nothing", line: `printenv TOKEN || echo "no TOKEN"`, want: "^no TOKEN$", never: value},
		{say: "a file from somebody else does nothing until it is approved", line: "cd acme", want: "not allowed", never: value},
		{line: "keyrack allow", want: `\+ TOKEN`, never: value},
		{say: "inside: a child process has it", line: `sh -c 'echo "a child of the shell has $TOKEN"'`, want: "has " + value},
		{say: "the idle prompt has none, not even the shell itself (the prompt counted: 0); and out again, in the middle of a line",
			line: `printenv TOKEN && cd .. && printenv TOKEN || echo "outside: no TOKEN"`, want: `(?s)^` + value + `$.*^outside: no TOKEN$`},
		{line: "cd acme", never: value},
		{line: "cd .. && keyrack status acme", want: "TOKEN +held", never: value},
		{say: fmt.Sprintf("the daemon holds a value for its TTL, here %s, and then wipes it", demoTTL), wait: d.expired,
			line: "keyrack status acme", want: "TOKEN +available .*not held", never: value},
		{say: "the next command gets a fresh one", line: "cd acme && printenv TOKEN", want: "^" + value + "$"},
		{say: "lock: everything is wiped, in every shell", line: "keyrack lock", never: value},
		{line: `printenv TOKEN || echo "locked: no TOKEN"`, want: "(?s)locked.*^locked: no TOKEN$", never: value},
		{line: `keyrack unlock && cd .. && printenv TOKEN || echo "outside again: no TOKEN"`, want: "^outside again: no TOKEN$", never: value},
	}
}

// take shows one step and checks it.
func (d *demo) take(ctx context.Context, s step) error {
	if s.say != "" {
		fmt.Fprintln(os.Stderr)
		say("%s", s.say)
	}
	if s.wait != nil {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	shown, held, err := d.term.line(ctx, s.line)
	if err != nil {
		return err
	}
	switch {
	case s.want != "" && !regexp.MustCompile("(?m)"+s.want).MatchString(shown):
		return fmt.Errorf("the demo went wrong: %s should have printed something else", s.line)
	case s.never != "" && regexp.MustCompile(s.never).MatchString(shown):
		return fmt.Errorf("the demo went wrong: %s printed the secret's value", s.line)
	case held != "0":
		return fmt.Errorf("the demo went wrong: the idle prompt after %s still holds the value", s.line)
	}
	return nil
}

// expired waits until the daemon no longer holds the value. Asking extends nothing.
func (d *demo) expired(ctx context.Context) error {
	client, err := daemon.Connect(ctx, d.place(), "")
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := client.Status(ctx, filepath.Join(d.home(), "acme"))
		if err != nil {
			return err
		}
		if len(status.Secrets) == 1 && !status.Secrets[0].Held {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the demo was given up: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (d *demo) home() string { return filepath.Join(d.dir, "home") }

func (d *demo) place() wire.Place {
	return wire.PlaceIn(filepath.Join(d.dir, "run", "keyrack"), wire.SessionID())
}

// environ is the environment of everything that runs in the demo: nothing of the
// person's but PATH and the language.
func (d *demo) environ() []string {
	environ := []string{
		"HOME=" + d.home(), "PATH=" + filepath.Join(d.dir, "bin") + ":" + os.Getenv("PATH"), "TERM=dumb",
		"XDG_RUNTIME_DIR=" + filepath.Join(d.dir, "run"), "XDG_CONFIG_HOME=" + d.home() + "/.config",
		"XDG_DATA_HOME=" + d.home() + "/.local/share", "XDG_STATE_HOME=" + d.home() + "/.local/state",
		"XDG_CACHE_HOME=" + d.home() + "/.cache", "ZDOTDIR=" + d.home(), "HISTFILE=", "SHELL=" + string(d.shell),
	}
	for _, name := range []string{"LANG", "LC_ALL", "LC_CTYPE", "USER", "LOGNAME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			environ = append(environ, name+"="+value)
		}
	}
	return environ
}

// furnish makes the home: the programs on PATH, the shell's start-up file, a rack
// with one value, and a worksite that asks for it.
func (d *demo) furnish(ctx context.Context) error {
	for _, dir := range []string{"bin", "run", "home/acme", "home/.config/fish", "home/.local/share/fish/generated_completions", "home/.cache/fish/generated_completions"} {
		if err := os.MkdirAll(filepath.Join(d.dir, dir), 0o700); err != nil {
			return err
		}
	}
	site := fmt.Sprintf("name = \"demo/acme\"\nttl = %q\n\n[secrets]\nTOKEN = \"\"   # from the rack\n", demoTTL)
	for file, text := range map[string]string{
		"home/" + demoRC[d.shell].file:   demoRC[d.shell].text,
		"home/acme/" + worksite.FileName: site,
	} {
		if err := os.WriteFile(filepath.Join(d.dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	keyrack := filepath.Join(d.dir, "bin", "keyrack")
	if err := os.Symlink(self(), keyrack); err != nil {
		return err
	}
	if small := hookProgram(); filepath.Base(small) == "keyrack-hook" {
		if err := os.Symlink(small, filepath.Join(d.dir, "bin", "keyrack-hook")); err != nil {
			return err
		}
	}
	return errors.Join(
		d.run(ctx, "", keyrack, "rack", "create", "--lock", "none"),
		d.run(ctx, d.value, keyrack, "set", "--site", "demo/acme", "TOKEN"))
}

// run runs one of keyrack's commands in the demo's home.
func (d *demo) run(ctx context.Context, input string, argv ...string) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir, c.Env, c.Stdin = d.home(), d.environ(), strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("keyrack %s: %w: %s", argv[1], err, strings.TrimSpace(strings.ReplaceAll(string(out), "\n", " ")))
	}
	return nil
}

// command is the shell as a person has it: interactive, with a start-up file.
func (d *demo) command(path string) *exec.Cmd {
	c := exec.Command(path, "-i")
	c.Dir, c.Env = d.home(), append(d.environ(), "PWD="+d.home())
	return c
}

// remove ends the shell and the daemon and deletes what was made.
func (d *demo) remove() error {
	if d.term != nil {
		d.term.hangUp()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(daemon.Stop(ctx, d.place()), os.RemoveAll(d.dir))
}
