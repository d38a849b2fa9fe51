package cmd

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func getCommand() *cobra.Command {
	var site string
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "write a value from the rack to standard output",
		Long: `Writes a value from the rack to standard output, its exact bytes; a terminal gets
a newline after it.`,
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			site, client, err := inRack(c.Context(), site, args[0])
			if err != nil {
				return err
			}
			value, err := client.Get(c.Context(), site, args[0])
			if err != nil {
				return err
			}
			defer clear(value)
			return write(value, term.IsTerminal(int(os.Stdout.Fd())))
		},
	}
	siteFlag(c, &site)
	return c
}
