package cmd

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"keyrack/daemon/wire"
	"keyrack/shells"
)

func hookCommand() *cobra.Command {
	var off, client bool
	var before string
	c := &cobra.Command{
		Use:   "hook SHELL",
		Short: "print the hook for a shell's start-up file (bash, zsh, fish)",
		Long: `Prints the code that a shell's start-up file evaluates:

    eval "$(keyrack hook bash)"      in ~/.bashrc
    eval "$(keyrack hook zsh)"       in ~/.zshrc
    keyrack hook fish | source       in ~/.config/fish/config.fish

With --off it prints the code that takes the hook out of a running shell.`,
		Args:      exactly("SHELL"),
		ValidArgs: shells.Names(),
		RunE: func(c *cobra.Command, args []string) error {
			shell, err := shells.Parse(args[0])
			if err != nil {
				return usage(c, err.Error())
			}
			if off {
				return output(shell.Off())
			}
			p, err := prelude()
			if err != nil {
				return err
			}
			p.Before, p.Client = before, client
			return output(shell.Prelude(p) + shell.Script())
		},
	}
	c.Flags().BoolVar(&off, "off", false, "print the code that takes the hook out again")
	c.Flags().StringVar(&before, "before", "", "bash: precede command lines by debug, ps0 or ps5.3")
	c.Flags().BoolVar(&client, "client", false, "zsh: ask through the client program, not by zsh/net/socket")
	hideFlags(c, "before", "client")
	return c
}

// hideFlags keeps what is for tests, and for a shell that misbehaves, out of the help.
func hideFlags(c *cobra.Command, names ...string) {
	for _, name := range names {
		c.Flags().Lookup(name).Hidden = true
	}
}

// prelude is what the hook must know of this installation and session.
func prelude() (shells.Prelude, error) {
	place, err := wire.FindPlace()
	if err != nil {
		return shells.Prelude{}, err
	}
	return shells.Prelude{Bin: hookProgram(), Socket: place.Socket, Generation: place.Generation}, nil
}

// hookProgram is the small program that serves the hook where it was installed
// beside this one, else this one.
func hookProgram() string {
	exe := self()
	small := filepath.Join(filepath.Dir(exe), "keyrack-hook")
	if info, err := os.Stat(small); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return small
	}
	return exe
}

// output writes data to standard output.
func output(text string) error {
	_, err := os.Stdout.WriteString(text)
	return err
}
