package cmd

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/daemon"
)

func lsCommand() *cobra.Command {
	var site string
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "list the names in the rack, never a value",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if all && site != "" {
				return usage(c, "--all and --site exclude each other")
			}
			items, err := list(c.Context(), site, all)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(items)
			}
			return output(itemLines(items, all))
		},
	}
	siteFlag(c, &site)
	c.Flags().BoolVar(&all, "all", false, "the names of every worksite, each after its worksite")
	c.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return c
}

func list(ctx context.Context, explicit string, all bool) ([]daemon.Item, error) {
	site := ""
	if !all {
		var err error
		site, err = siteName(explicit)
		if h, ok := errors.AsType[*hinted](err); ok { // no worksite here
			return nil, &hinted{h.error, "keyrack ls --all"}
		}
		if err != nil {
			return nil, err
		}
	}
	client, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	return client.List(ctx, site)
}

func itemLines(items []daemon.Item, all bool) string {
	var lines strings.Builder
	for _, item := range items {
		if all {
			lines.WriteString(item.Site + "\t")
		}
		lines.WriteString(item.Name + "\n")
	}
	return lines.String()
}
