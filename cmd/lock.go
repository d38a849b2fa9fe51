package cmd

import "github.com/spf13/cobra"

func lockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lock",
		Short: "wipe every value and the rack's key now; nothing is given until unlock",
		Long: `Wipes every value and the rack's key from the daemon, in every shell of this login
session. Until keyrack unlock nothing is given, whatever the rack's lock is. A
command that already runs keeps what it was given.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := connect(c.Context())
			if err != nil {
				return err
			}
			if err := client.Lock(c.Context()); err != nil {
				return err
			}
			say("locked in every shell; a command that already runs keeps what it was given")
			return nil
		},
	}
}
