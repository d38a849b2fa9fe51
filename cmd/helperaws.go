package cmd

import "github.com/spf13/cobra"

func helperAWSCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "aws [NAME]",
		Short: "AWS credential_process: credential_process = keyrack helper aws",
		Long: `Prints the keys of the row of kind "aws" for an AWS configuration file, with the time
when their ttl ends, so that what runs longer asks again. NAME is the row's name where
there is more than one.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := namedRow("aws", args)
			if err != nil {
				return err
			}
			given, err := r.ask(c.Context())
			if err != nil {
				return err
			}
			defer given.wipe()
			members := []member{{key: "Version", is: "1"}, {key: "AccessKeyId", text: given.values["access_key_id"]}, {key: "SecretAccessKey", text: given.values["secret_access_key"]}}
			if token := given.values["session_token"]; token != nil {
				members = append(members, member{key: "SessionToken", text: token})
			}
			if !given.until.IsZero() {
				members = append(members, member{key: "Expiration", text: []byte(timestamp(given.until))})
			}
			return object(members...)
		},
	}
}
