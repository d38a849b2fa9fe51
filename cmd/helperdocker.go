package cmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/worksite"
)

// dockerNone is what docker takes for "ask no more": its client compares the text.
const dockerNone = "credentials not found in native keychain\n"

func helperDockerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "docker [get|store|erase|list|version]",
		Short: `docker's credential helper: "credHelpers": {"ghcr.io": "keyrack"}`,
		Long: `Answers docker's "get" with the row for the registry, and "list" with all registries
that have a row. "store" and "erase" change nothing, and fail: what docker logs in with
is set by keyrack set, and named in .keyrack.toml.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			err := helperDocker(c, strings.Join(args, ""))
			if _, said := errors.AsType[codeError](err); err != nil && !said {
				fmt.Println(err) // where docker looks for errors
			}
			return err
		},
	}
}

func helperDocker(c *cobra.Command, verb string) error {
	switch verb {
	case "get":
		return dockerGet(c)
	case "list":
		return dockerList()
	case "store", "erase":
		return &hinted{errors.New("keyrack changes nothing for docker: set the secret, and name the registry in " + worksite.FileName), "keyrack helper docker --help"}
	case "version":
		return emit([]byte("keyrack " + version() + "\n"))
	}
	return usage(c, "docker says get, store, erase, list or version")
}

func dockerGet(c *cobra.Command) error {
	raw, err := io.ReadAll(io.LimitReader(os.Stdin, maxRequest))
	if err != nil {
		return fmt.Errorf("reading what docker asks: %w", err)
	}
	asked := strings.TrimSpace(string(raw))
	registry := registryOf(asked)
	r, err := findRow("docker", func(h worksite.Helper) bool { return registry != "" && registryOf(h.Host) == registry })
	if err != nil {
		return err
	}
	if r == nil {
		fmt.Print(dockerNone)
		return codeError(exitFailed)
	}
	given, err := r.ask(c.Context())
	if err != nil {
		return err
	}
	defer given.wipe()
	return object(member{key: "ServerURL", text: []byte(asked)}, member{key: "Username", text: []byte(r.Username)},
		member{key: "Secret", text: given.values["password"]})
}

// dockerList prints the users by registry. They stand in the worksite's file.
func dockerList() error {
	rows, err := rowsOf("docker")
	if err != nil {
		return err
	}
	var users []member
	for _, r := range rows {
		registry := strings.TrimPrefix(r.Host, "https://")
		if registryOf(r.Host) == dockerHub {
			registry = "https://index.docker.io/v1/" // what docker itself calls it
		}
		users = append(users, member{key: registry, text: []byte(r.Username)})
	}
	return object(users...)
}

const dockerHub = "https://docker.io"

// registryOf is the server of what docker calls a registry. Docker's own has three
// names. "" is none.
func registryOf(text string) string {
	server := serverOf(text)
	switch server {
	case "https://index.docker.io", "https://registry-1.docker.io":
		return dockerHub
	}
	return server
}
