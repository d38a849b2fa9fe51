package cmd

import (
	"os"

	"github.com/spf13/cobra"

	"keyrack/shells"
)

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "print the completion of keyrack's own commands for a shell",
		Long: `Prints the completion of keyrack's own commands:

    source <(keyrack completion bash)       in ~/.bashrc
    source <(keyrack completion zsh)        in ~/.zshrc, after compinit
    keyrack completion fish | source        in ~/.config/fish/config.fish`,
		Args:      exactly("SHELL"),
		ValidArgs: shells.Names(),
		RunE: func(c *cobra.Command, args []string) error {
			shell, err := shells.Parse(args[0])
			switch {
			case err != nil:
				return usage(c, err.Error())
			case shell == shells.Bash:
				return c.Root().GenBashCompletionV2(os.Stdout, true)
			case shell == shells.Zsh:
				return c.Root().GenZshCompletion(os.Stdout)
			}
			return c.Root().GenFishCompletion(os.Stdout, true)
		},
	}
}
