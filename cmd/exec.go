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
)

// The codes that shells give to a command that can't be run.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
)

func execCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "exec [--] COMMAND [ARG...]",
		Short: "run one command with the secrets of the worksite here",
		Long: `Runs a command with the secrets of the worksite in which the working directory
lies, without a hook: in scripts, CI, cron and editors. The command takes the
place of keyrack: it has its process id, its terminal and its signals, and its
exit code is the command's own.

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
			if err != nil {
				return err
			}
			return execIn(c.Context(), root, args)
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

// execIn replaces this process by the command argv with the secrets of the
// worksite at root. It returns only where that fails.
func execIn(ctx context.Context, root string, argv []string) error {
	client, err := connect(ctx)
	if err != nil {
		return err
	}
	client.Command = commandName(argv[0])
	grant, err := client.Grant(ctx, daemon.Query{Root: root})
	if err != nil {
		return err
	}
	if grant.Status == wire.Unconfirmed {
		waits := strings.Join(grant.Lines, ", ")
		if grant, err = confirm(ctx, client, root, argv, waits); err != nil {
			return err
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
	if change.Status != wire.OK {
		return codeError(exitCode(change.Status))
	}
	return replace(argv, hook.Environ(os.Environ(), change.Put))
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
