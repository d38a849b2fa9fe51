package cmd

import (
	"errors"

	"github.com/spf13/cobra"

	"keyrack/worksite"
)

func helperTerraformCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "terraform [get|store|forget] HOST",
		Short: `Terraform's credentials helper: credentials_helper "keyrack" {}`,
		Long: `Answers Terraform's "get" with the token of the row for HOST, or with none. "store" and
"forget" change nothing, and fail.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage(c, "terraform says get, store or forget, and a host")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			verb, host := args[len(args)-2], args[len(args)-1] // what stands before is from the person's configuration
			if verb != "get" {
				return errors.New("keyrack changes nothing for terraform: set the secret, and name the host in " + worksite.FileName)
			}
			server, _ := worksite.Server(host)
			r, err := findRow("terraform", func(h worksite.Helper) bool { return h.Host == server })
			if err != nil {
				return err
			}
			if r == nil {
				return object()
			}
			given, err := r.ask(c.Context())
			if err != nil {
				return err
			}
			defer given.wipe()
			return object(member{key: "token", text: given.values["token"]})
		},
	}
}
