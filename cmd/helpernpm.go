package cmd

import (
	"github.com/spf13/cobra"

	"keyrack/worksite"
)

func helperNPMCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "npm HOST",
		Short: "pnpm's tokenHelper for a registry: keyrack-npm-HOST",
		Long: `Prints the Authorization header for the registry HOST, with the token of its row. Where
there is no row it prints nothing: pnpm starts it with each command, everywhere.`,
		Args: exactly("HOST"),
		RunE: func(c *cobra.Command, args []string) error {
			registry := serverOf(args[0])
			r, err := findRow("npm", func(h worksite.Helper) bool {
				return h.Host == registry || h.Host == serverOf("http://"+args[0])
			})
			if err != nil || r == nil {
				return err
			}
			given, err := r.ask(c.Context())
			if err != nil {
				return err
			}
			defer given.wipe()
			if err := r.oneLine(given, "token"); err != nil {
				return err
			}
			return emit([]byte("Bearer "), given.values["token"], []byte("\n"))
		},
	}
}
