package cmd

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"keyrack/worksite"
)

// maxRequest bounds what a tool asks, in bytes.
const maxRequest = 64 << 10

func helperGitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "git [get|store|erase]",
		Short: "git's credential helper: git config credential.helper keyrack",
		Long: `Answers git's "get" with the row whose host git asks for. For every other host it
says nothing, and git asks the next helper. "store" and "erase" change nothing.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "git says get, store or erase")
			}
			if args[0] != "get" && args[0] != "erase" {
				return nil // store, and what later versions of git say
			}
			r, err := gitRow(os.Stdin)
			if err != nil || r == nil {
				return err
			}
			if args[0] == "erase" {
				say("%s did not take %s", r.Host, r.Secrets["password"])
				hint("keyrack why " + r.Secrets["password"])
				return nil
			}
			return r.answerGit(c)
		},
	}
}

// gitRow is the row for what git asks, nil for none.
func gitRow(request io.Reader) (*row, error) {
	raw, err := io.ReadAll(io.LimitReader(request, maxRequest))
	defer clear(raw) // erase brings the password
	if err != nil {
		return nil, fmt.Errorf("reading what git asks: %w", err)
	}
	asked := map[string]string{}
	for line := range bytes.Lines(raw) {
		key, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
		switch key := string(key); key {
		case "protocol", "host", "username":
			asked[key] = string(value)
		}
	}
	server, ok := worksite.Server(asked["protocol"] + "://" + asked["host"])
	if !ok {
		return nil, nil // a file, or ssh
	}
	return findRow("git", func(h worksite.Helper) bool {
		return h.Host == server && (h.Username == "" || asked["username"] == "" || h.Username == asked["username"])
	})
}

func (r *row) answerGit(c *cobra.Command) error {
	given, err := r.ask(c.Context())
	if err != nil {
		return err
	}
	defer given.wipe()
	if err := r.oneLine(given, "password"); err != nil {
		return err
	}
	if r.Username != "" {
		if err := emit([]byte("username=" + r.Username + "\n")); err != nil {
			return err
		}
	}
	return emit([]byte("password="), given.values["password"], []byte("\n"))
}
