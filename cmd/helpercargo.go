package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/hook"
	"keyrack/worksite"
)

// cratesIO is what a person writes for the index that cargo calls cratesIndex.
const (
	cratesIO    = "crates.io"
	cratesIndex = "https://github.com/rust-lang/crates.io-index"
)

func helperCargoCommand() *cobra.Command {
	plugin := false
	c := &cobra.Command{
		Use:   "cargo --cargo-plugin",
		Short: "cargo's credential provider: cargo-credential-keyrack",
		Long: `Answers cargo's "get" with the token of the row that has exactly the index of cargo's
configuration, or crates.io. "login" and "logout" are not supported.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if !plugin {
				return usage(c, "cargo says --cargo-plugin")
			}
			return helperCargo(c.Context(), os.Stdin)
		},
	}
	c.Flags().BoolVar(&plugin, "cargo-plugin", false, "as cargo starts it")
	return c
}

// cargoRequest is what of a request matters.
type cargoRequest struct {
	V        int
	Kind     string
	Registry struct {
		IndexURL string `json:"index-url"`
	}
}

// helperCargo answers requests, one a line, until there are no more.
func helperCargo(ctx context.Context, stdin io.Reader) error {
	if err := emit([]byte("{\"v\":[1]}\n")); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(stdin, maxRequest)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		var asked cargoRequest
		if err != nil && !errors.Is(err, io.EOF) || json.Unmarshal(line, &asked) != nil {
			return errors.New("what cargo asks is not a request")
		}
		if err := answerCargo(ctx, asked); err != nil {
			return err
		}
	}
}

func answerCargo(ctx context.Context, asked cargoRequest) error {
	if asked.V != 1 || asked.Kind != "get" { // login brings a token, which is dropped
		return cargoError("operation-not-supported", "")
	}
	index := asked.Registry.IndexURL
	r, err := findRow("cargo", func(h worksite.Helper) bool {
		return h.Index == index || h.Index == cratesIO && index == cratesIndex
	})
	if err == nil && r == nil {
		return cargoError("url-not-supported", "") // the next provider has its turn
	}
	var given *credentials
	if err == nil {
		given, err = r.ask(ctx)
	}
	if err != nil {
		return cargoError("other", hook.Line(err.Error(), mendOf(err)))
	}
	defer given.wipe()
	answer := []member{{key: "kind", text: []byte("get")}, {key: "token", text: given.values["token"]},
		{key: "cache", text: []byte("session")}, {key: "operation_independent", is: "true"}}
	if !given.until.IsZero() {
		answer[2].text = []byte("expires")
		answer = append(answer, member{key: "expiration", is: strconv.FormatInt(given.until.Unix(), 10)})
	}
	return object(member{key: "Ok", of: answer})
}

// cargoError is an answer without a token; message is for people.
func cargoError(kind, message string) error {
	answer := []member{{key: "kind", text: []byte(kind)}}
	if message != "" {
		text := []byte(strings.ToValidUTF8(message, "?"))
		answer = append(answer, member{key: "message", text: text}, member{key: "caused-by", is: "[]"})
	}
	return object(member{key: "Err", of: answer})
}
