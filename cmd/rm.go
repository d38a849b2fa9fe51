package cmd

import "github.com/spf13/cobra"

func rmCommand() *cobra.Command {
	var site string
	c := &cobra.Command{
		Use:   "rm NAME",
		Short: "remove a value from the rack",
		Args:  exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			site, client, err := inRack(c.Context(), site, args[0])
			if err != nil {
				return err
			}
			if err := client.Remove(c.Context(), site, args[0]); err != nil {
				return err
			}
			say("%s is removed for %s", args[0], site)
			return nil
		},
	}
	siteFlag(c, &site)
	return c
}
