package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"keyrack/daemon/audit"
	"keyrack/worksite"
)

func denyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "deny [DIR]",
		Short: "give the worksite here nothing until it is allowed",
		Long: `Denies the worksite in DIR, or in the working directory. It gets nothing, whatever
becomes of its file, until keyrack allow.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			root, err := findRoot(first(args))
			if err != nil {
				return err
			}
			store, err := approvals()
			if err != nil {
				return err
			}
			if err := store.DenyRoot(root); err != nil {
				return fmt.Errorf("keeping the denial: %w", err)
			}
			say("denied %s", worksite.Visible(root))
			site, _ := worksite.Read(root) // a file that can't be read has no name
			logSelf(audit.Deny, site, root)
			return touch(c.Context())
		},
	}
}
