package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/worksite"
)

func setCommand() *cobra.Command {
	var site string
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "put a value into the rack: asks for it, hidden, or reads standard input",
		Long: `Puts a value into the rack, under the name of the worksite here. On a terminal it
asks for the value and does not show it. Otherwise it reads standard input to its
end and takes off one newline there, as echo writes it:

    keyrack set DATABASE_URL
    pass show acme/db | keyrack set DATABASE_URL
    keyrack set TLS_KEY <key.pem

A value is any bytes but NUL, which no environment variable can hold.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || strings.Contains(args[0], "=") { // what is too much may be the value: it is not quoted
				return usage(c, "set takes NAME alone: the value is asked for or read from standard input, so that no history has it")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return set(c.Context(), site, args[0]) },
	}
	siteFlag(c, &site)
	return c
}

// siteFlag is the flag of the commands that work on the rack.
func siteFlag(c *cobra.Command, site *string) {
	c.Flags().StringVar(site, "site", "", "the worksite's `NAME`, instead of the one here")
}

// inRack resolves what a command on the rack is about, and finds the daemon.
func inRack(ctx context.Context, explicit, name string) (site string, client *daemon.Client, err error) {
	if err := worksite.CheckSecretName(name); err != nil {
		return "", nil, err
	}
	if site, err = siteName(explicit); err != nil {
		return "", nil, err
	}
	client, err = connect(ctx)
	return site, client, err
}

func set(ctx context.Context, explicit, name string) error {
	site, client, err := inRack(ctx, explicit, name)
	if err != nil {
		return err
	}
	value, err := newValue(ctx, client, site, name)
	if err != nil {
		return err
	}
	defer clear(value)
	if err := client.Set(ctx, site, name, value); err != nil {
		return err
	}
	say("%s is set for %s", name, site)
	if explicit == "" && !asksFor(name) {
		say("%s does not ask for it: add it to [secrets] there", worksite.FileName)
	}
	return nil
}

// newValue gets the value to set from the person or from standard input.
func newValue(ctx context.Context, client *daemon.Client, site, name string) ([]byte, error) {
	if !onTerminal() {
		value, err := readInput(false)
		if err == nil && len(value) == 0 {
			err = errors.New("standard input is empty: nothing is set")
		}
		return bytes.TrimSuffix(value, []byte("\n")), err
	}
	if _, err := client.List(ctx, site); err != nil { // before the person takes the trouble
		return nil, err
	}
	q := &questions{}
	value, err := q.hidden("the value of "+name+" for "+site+", hidden: ", true)
	switch {
	case errors.Is(err, errPasted):
		return nil, &hinted{fmt.Errorf("%w: nothing is set; such a value goes through standard input", err), "keyrack set " + name + " <FILE"}
	case err != nil:
		return nil, err
	case len(value) == 0:
		return nil, errors.New("no value was typed: nothing is set")
	}
	return value, nil
}

// asksFor says whether the worksite here asks for the name. One that can't be
// read was refused before.
func asksFor(name string) bool {
	root, err := findRoot("")
	if err != nil {
		return false
	}
	site, err := worksite.Read(root)
	if err != nil {
		return false
	}
	for _, s := range site.Secrets {
		if s.Name == name {
			return true
		}
	}
	return false
}

// write writes a value, and a newline where a terminal shows it.
func write(value []byte, newline bool) error {
	if _, err := os.Stdout.Write(value); err != nil {
		return err
	}
	if newline {
		return output("\n")
	}
	return nil
}
