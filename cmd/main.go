// Package cmd is keyrack's commands: their flags, and the words for people. It
// is the only package that prints or exits. What the commands do is done by the
// packages that it calls.
package cmd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/cmd/client"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// The exit codes.
const (
	exitFailed     = 1
	exitUsage      = 2
	exitNotAllowed = 3
	exitLocked     = 4
	exitMissing    = 5
)

// Main runs the command that the program's arguments name and returns its exit
// code.
func Main() int {
	if len(os.Args) > 1 {
		switch os.Args[1] { // what other parts of keyrack start, not people
		case "__hook":
			return client.Run(self(), os.Args[2:])
		case "__rack":
			return source.RackChild(os.Stdin, os.Stdout)
		case "__runner":
			return source.RunnerChild()
		case "__keyring":
			return source.KeyringChild(os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
		}
	}
	root := newRoot()
	if helper := helperOf(os.Args[0]); helper != nil {
		root.SetArgs(slices.Concat([]string{"helper"}, helper, os.Args[1:]))
	}
	if err := root.Execute(); err != nil {
		return report(err)
	}
	return 0
}

const long = `keyrack gives each command the secrets of the project that it runs in, for as
long as it runs, and nothing to anything else.

    eval "$(keyrack hook bash)"      in ~/.bashrc; zsh the same in ~/.zshrc
    keyrack hook fish | source       in ~/.config/fish/config.fish
    keyrack demo                     shows all of it, in a throw-away home

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not allowed, 4 locked, 5 a secret
is missing; exec passes on the command's own.`

// commands are all that people call, in the order of the help.
var commands = []func() *cobra.Command{
	hookCommand, initCommand, allowCommand, denyCommand, setCommand, getCommand, rmCommand, lsCommand,
	execCommand, sandboxCommand, agentCommand, scanCommand, helperCommand, unlockCommand, lockCommand, statusCommand, whyCommand, logCommand, doctorCommand, demoCommand, rackCommand,
	daemonCommand, completionCommand, versionCommand,
}

func newRoot() *cobra.Command {
	cobra.EnableCommandSorting = false
	root := &cobra.Command{
		Use:           "keyrack",
		Short:         "secrets for commands, not for shells",
		Long:          long,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "which command?")
			}
			text := fmt.Sprintf("unknown command %q", args[0])
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				text += fmt.Sprintf(", did you mean %q?", near[0])
			}
			return usage(c, text)
		},
		SuggestionsMinimumDistance: 2,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetOut(os.Stdout)
	root.SetErr(os.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err.Error()) })
	for _, command := range commands {
		root.AddCommand(command())
	}
	return root
}

// usageError is a call that makes no sense. hint is the command that explains.
type usageError struct{ text, hint string }

func (e *usageError) Error() string { return e.text }

func usage(c *cobra.Command, text string) error {
	return &usageError{text, c.CommandPath() + " --help"}
}

// exactly is cobra.ExactArgs with words: names are those of the arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(c, c.Name()+" takes "+strings.Join(names, " "))
		case len(args) > len(names):
			return usage(c, fmt.Sprintf("%q is one argument too many", args[len(names)]))
		}
		return nil
	}
}

// atMostOne allows one argument.
func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(c, fmt.Sprintf("%q is one argument too many", args[1]))
	}
	return nil
}

// codeError ends the program with a code of its own; what there was to say has
// been said.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report tells a person what went wrong and returns the exit code.
func report(err error) int {
	if code, ok := errors.AsType[codeError](err); ok {
		return int(code)
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		say("%s", e.text)
		hint(e.hint)
		return exitUsage
	}
	say("%s", err)
	hint(mendOf(err))
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return exitCode(e.Status)
	}
	return exitFailed
}

// hinted is an error that a command mends.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// mendOf is the command that mends an error, "" where it knows none.
func mendOf(err error) string {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*hinted](err); ok {
		return e.hint
	}
	return ""
}

func exitCode(status string) int {
	switch status {
	case wire.NotAllowed, wire.Unconfirmed:
		return exitNotAllowed
	case wire.Locked:
		return exitLocked
	case wire.Missing:
		return exitMissing
	}
	return exitFailed
}

// say writes a line for people.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "keyrack: "+format+"\n", args...)
}

// hint writes a command that can be pasted, on a line of its own.
func hint(command string) {
	if command != "" {
		fmt.Fprintln(os.Stderr, command)
	}
}
