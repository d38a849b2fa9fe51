package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/wire"
	"keyrack/hook"
	"keyrack/shells"
	"keyrack/shells/programs"
	"keyrack/worksite"
)

// The codes that shells give to a command that can't be run.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
)

func execCommand() *cobra.Command {
	var how execution
	c := &cobra.Command{
		Use:   "exec [--] COMMAND [ARG...]",
		Short: "run one command with the secrets of the worksite here",
		Long: `Runs a command with the secrets of the worksite in which the working directory
lies, without a hook: in scripts, CI, cron and editors. The command takes the
place of keyrack: it has its process id, its terminal and its signals, and its
exit code is the command's own.

A secret with a "for" is given where all programs that the command starts are among
those, as far as its words tell; one with for = [] always. With as = "file" the variable
holds the path of a file that is in memory alone, which the command inherits.

With --mask, values are replaced in what the command prints, as far as that goes to no
terminal: for logs, CI and agents. Then keyrack stays between the two, and passes on
signals. A value under 8 bytes is left alone, and so is one that the command encodes.

Where a secret can't be had, the command is not run; where that is because nobody is
logged in to its store, it offers on the terminal to run what logs in first. Where a secret waits for your
yes (confirm), it asks on the terminal; without one, the command is not run.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "exec takes COMMAND")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			root, err := findRoot("")
			if err == nil {
				err = execIn(c.Context(), root, args, how)
			}
			if _, said := errors.AsType[codeError](err); err != nil && how.fromHook && !said {
				if root != "" { // else the shell has left it since
					report(err)
				}
				return replace(args, os.Environ())
			}
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().BoolVar(&how.masked, "mask", false, "replace values in what the command prints to no terminal")
	c.Flags().BoolVar(&how.fromHook, "from-hook", false, "typed at a prompt: run it without what it may not have or can't be had")
	_ = c.Flags().MarkHidden("from-hook") // it is there
	return c
}

// execution is how a command is run: at a prompt, also without what it may not have
// or can't be had; masked, with values replaced in its output.
type execution struct{ fromHook, masked bool }

// execIn replaces this process by the command argv with the secrets of the
// worksite at root, or runs it where its output is masked. It returns where that
// fails, and with the exit code of one that it ran.
func execIn(ctx context.Context, root string, argv []string, how execution) error {
	client, err := connect(ctx)
	if err != nil {
		return err
	}
	client.Command = commandName(argv[0])
	status, err := client.Status(ctx, root)
	if err != nil {
		return err
	}
	query := daemon.Query{Root: root, Has: variablesOf(status)}
	if query.Want, err = wants(status, argv, how); err != nil {
		return err
	}
	grant, err := granted(ctx, client, query, argv)
	if err == nil && grant.Status != wire.OK && !how.fromHook && logIn(ctx, client, root) {
		grant.Wipe()
		grant, err = granted(ctx, client, query, argv)
	}
	if err != nil {
		return err
	}
	change := hook.Change(grant, nil)
	for _, line := range change.Say {
		if strings.HasPrefix(line, "keyrack ") { // a command that mends what the line before says
			hint(line)
			continue
		}
		say("%s", line)
	}
	if change.Status != wire.OK && !how.fromHook {
		return codeError(exitCode(change.Status))
	}
	vars, err := asFiles(status, change.Put)
	if err != nil {
		return err
	}
	environ := hook.Environ(os.Environ(), vars)
	if how.masked {
		secrets, err := secretsOf(status, change.Put)
		if err != nil {
			return err
		}
		return runMasked(argv, environ, secrets)
	}
	return replace(argv, environ)
}

// granted is what the daemon gives to the command argv, after a person's yes where it
// takes one.
func granted(ctx context.Context, client *daemon.Client, query daemon.Query, argv []string) (*wire.Grant, error) {
	grant, err := client.Grant(ctx, query)
	if err != nil {
		return nil, err
	}
	if grant, err = confirm(ctx, client, query, argv, grant); err != nil {
		return nil, codeError(report(err))
	}
	return grant, nil
}

// variablesOf are the variables of this process that sources of the worksite name.
func variablesOf(status *daemon.Status) (names []string) {
	for _, s := range status.Secrets {
		names = append(names, s.Variables...)
	}
	return withValue(names)
}

// withValue are those of the variables that this process has. An empty one is none: that is
// how CI systems give a secret that they do not have.
func withValue(variables []string) []string {
	return slices.DeleteFunc(slices.Clone(variables), func(name string) bool { return os.Getenv(name) == "" })
}

// asFiles are vars with the path of a file, which the command inherits, in place of
// each value that it is to have as one.
func asFiles(status *daemon.Status, vars []shells.Var) ([]shells.Var, error) {
	vars = slices.Clone(vars)
	for i, v := range vars {
		if !slices.ContainsFunc(status.Secrets, func(s daemon.SecretStatus) bool { return s.Env == v.Name && s.As == worksite.AsFile }) {
			continue
		}
		path, err := secretFile(v.Name, v.Value)
		if err != nil {
			return nil, err
		}
		vars[i].Value = []byte(path)
	}
	return vars, nil
}

// secretsOf are vars without those that stand in the worksite's file, as defaults, and
// with what stands in the file of one that has a name.
func secretsOf(status *daemon.Status, vars []shells.Var) (secrets []shells.Var, err error) {
	for _, v := range vars {
		i := slices.IndexFunc(status.Secrets, func(s daemon.SecretStatus) bool { return s.Env == v.Name })
		switch {
		case i >= 0 && status.Secrets[i].State == daemon.StateDefault:
			continue
		case i >= 0 && status.Secrets[i].As == worksite.AsTmpfile:
			if v.Value, err = os.ReadFile(string(v.Value)); err != nil {
				return nil, fmt.Errorf("the file of %s: %w", v.Name, err)
			}
		}
		secrets = append(secrets, v)
	}
	return secrets, nil
}

// wants names the secrets with a "for" or as a file that argv may have: those that are
// for all the programs that it starts, and those that are for keyrack exec alone.
func wants(status *daemon.Status, argv []string, how execution) ([]string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range status.Secrets {
		switch {
		case s.For == nil && s.As == worksite.AsEnv: // it is given unasked
		case how.fromHook && s.For != nil && len(s.For) == 0: // typed at a prompt, it is no keyrack exec
		case isFor(s, argv, status.Root, dir):
			names = append(names, s.Name)
		}
	}
	return names, nil
}

// isFor says whether keyrack exec gives s of the worksite at root to argv, run in dir.
func isFor(s daemon.SecretStatus, argv []string, root, dir string) bool {
	return len(s.For) == 0 || programs.All(argv, s.For, root, dir)
}

// replace makes this process the program of argv. Its errors are those of a shell.
func replace(argv, environ []string) error {
	path, err := exec.LookPath(argv[0])
	if err == nil || errors.Is(err, exec.ErrDot) {
		err = syscall.Exec(path, argv, environ)
		if err == syscall.ENOEXEC { // a script without #!, which execvp(3) gives to the shell
			err = syscall.Exec("/bin/sh", append([]string{"sh", path}, argv[1:]...), environ)
		}
	}
	return notRunnable(argv[0], err)
}

// commandName is the name of the command for the audit log, "" where there is no
// such command: a word in its place may be anything.
func commandName(command string) string {
	if _, err := exec.LookPath(command); err != nil && !errors.Is(err, exec.ErrDot) {
		return ""
	}
	return filepath.Base(command)
}

// notRunnable says why the command can't be run.
func notRunnable(command string, err error) error {
	say("%s: %s", command, reason(err))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return codeError(exitNotFound)
	}
	return codeError(exitNotRunnable)
}

// reason is the innermost error's text, without the path that the line names anyway.
func reason(err error) string {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}
