package cmd

import (
	"errors"

	"github.com/spf13/cobra"

	"keyrack/worksite"
)

func helperKeyringCommand() *cobra.Command {
	mode := ""
	c := &cobra.Command{
		Use:   "keyring get SERVICE [USER]",
		Short: "the keyring command, of which pip and uv ask for a password",
		Long: `Answers "get" with the password of the row for the server SERVICE, which may be a URL.
With --mode creds it prints the user first; then USER may be missing. Where there is no
row, it prints nothing and fails, as keyring does.`,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || args[0] != "get":
				return errors.New("keyrack changes nothing for keyring: keyrack set does")
			case len(args) < 2 || len(args) > 3 || mode != "creds" && (mode != "password" || len(args) != 3):
				return usage(c, "keyring takes get SERVICE USER, or get SERVICE --mode creds")
			}
			server := serverOf(args[1])
			r, err := findRow("keyring", func(h worksite.Helper) bool {
				return h.Host == server && (len(args) == 2 || args[2] == h.Username)
			})
			switch {
			case err != nil:
				return err
			case r == nil:
				return codeError(exitFailed)
			case mode == "creds":
				if err := emit([]byte(r.Username + "\n")); err != nil {
					return err
				}
			}
			return r.print(c.Context(), "password")
		},
	}
	c.Flags().StringVar(&mode, "mode", "password", "password or creds: what to print")
	return c
}
