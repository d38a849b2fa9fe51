package cmd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/wire"
	"keyrack/hook"
	"keyrack/shells/programs"
)

// The codes that shells give to a command that can't be run.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
)

func execCommand() *cobra.Command {
	fromHook := false
	c := &cobra.Command{
		Use:   "exec [--] COMMAND [ARG...]",
		Short: "run one command with the secrets of the worksite here",
		Long: `Runs a command with the secrets of the worksite in which the working directory
lies, without a hook: in scripts, CI, cron and editors. The command takes the
place of keyrack: it has its process id, its terminal and its signals, and its
exit code is the command's own.

A secret with a "for" is given where all programs that the command starts are among
those, as far as its words tell; one with for = [] always.

Where a secret can't be had, the command is not run. Where a secret waits for your
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
				err = execIn(c.Context(), root, args, fromHook)
			}
			if _, said := errors.AsType[codeError](err); fromHook && !said {
				if root != "" { // else the shell has left it since
					report(err)
				}
				return replace(args, os.Environ())
			}
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().BoolVar(&fromHook, "from-hook", false, "typed at a prompt: run it without what it may not have or can't be had")
	_ = c.Flags().MarkHidden("from-hook") // it is there
	return c
}

// execIn replaces this process by the command argv with the secrets of the
// worksite at root. It returns only where that fails. From the hook, it runs also
// without what can't be had.
func execIn(ctx context.Context, root string, argv []string, fromHook bool) error {
	client, err := connect(ctx)
	if err != nil {
		return err
	}
	client.Command = commandName(argv[0])
	query := daemon.Query{Root: root}
	if query.Want, err = wants(ctx, client, root, argv, fromHook); err != nil {
		return err
	}
	grant, err := client.Grant(ctx, query)
	if err != nil {
		return err
	}
	if grant.Status == wire.Unconfirmed {
		waits := strings.Join(grant.Lines, ", ")
		if grant, err = confirm(ctx, client, query, argv, waits); err != nil {
			return codeError(report(err))
		}
	}
	change := hook.Change(grant, nil)
	for _, line := range change.Say {
		if strings.HasPrefix(line, "keyrack ") { // a command that mends what the line before says
			hint(line)
			continue
		}
		say("%s", line)
	}
	if change.Status != wire.OK && !fromHook {
		return codeError(exitCode(change.Status))
	}
	return replace(argv, hook.Environ(os.Environ(), change.Put))
}

// wants names the secrets with a "for" that argv may have: those that are for all the
// programs that it starts, and those that are for keyrack exec alone.
func wants(ctx context.Context, client *daemon.Client, root string, argv []string, fromHook bool) ([]string, error) {
	status, err := client.Status(ctx, root)
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range status.Secrets {
		if s.For != nil && (len(s.For) == 0 && !fromHook || programs.All(argv, s.For, root, dir)) {
			names = append(names, s.Name)
		}
	}
	return names, nil
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
