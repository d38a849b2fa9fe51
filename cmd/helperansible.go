package cmd

import "github.com/spf13/cobra"

func helperAnsibleCommand() *cobra.Command {
	id := ""
	c := &cobra.Command{
		Use:   "ansible",
		Short: "Ansible's vault password client: vault_password_file = keyrack-ansible-client",
		Long: `Prints the vault password of the row whose name is the vault id, or of the row without
a name for the default one.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if id == "default" {
				id = ""
			}
			r, err := namedRow("ansible", []string{id})
			if err != nil {
				return err
			}
			return r.print(c.Context(), "password")
		},
	}
	c.Flags().StringVar(&id, "vault-id", "", "the vault id, as ansible gives it")
	return c
}
