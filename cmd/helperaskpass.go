package cmd

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/worksite"
)

func helperAskpassCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "askpass PROMPT",
		Short: "SSH_ASKPASS, SUDO_ASKPASS and GIT_ASKPASS, for questions that a row has",
		Long: `Answers a question for a password with the row that has exactly this prompt, apart from
blanks and the colon at its end. Other questions, and those for a yes, it leaves
unanswered: it prints nothing and fails.`,
		Args: exactly("PROMPT"),
		RunE: func(c *cobra.Command, args []string) error {
			if os.Getenv("SSH_ASKPASS_PROMPT") != "" { // ssh wants a yes, or just to say something
				return codeError(exitFailed)
			}
			question := trimPrompt(args[0])
			r, err := findRow("askpass", func(h worksite.Helper) bool { return trimPrompt(h.Prompt) == question })
			if err != nil {
				return err
			}
			if r == nil {
				return codeError(exitFailed)
			}
			return r.print(c.Context(), "password")
		},
	}
}

func trimPrompt(text string) string { return strings.TrimRight(text, ": \n") }
