package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/worksite"
)

func statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [DIR]",
		Short: "tell which worksite this is, which secrets, how long they stay, and why not",
		Long: `Tells which worksite this directory (or DIR) lies in, which secrets it asks for,
how long each value stays in the daemon, what keeps it from being given, and who
shares the daemon. It fetches no value and extends nothing.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			root, err := lookForRoot(strings.Join(args, ""))
			if err != nil {
				return err
			}
			client, err := connect(c.Context())
			if err != nil {
				return err
			}
			status, err := client.Status(c.Context(), root)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(status)
			}
			return writeStatus(os.Stderr, status)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON on standard output")
	return c
}

// printJSON writes v, indented, to standard output.
func printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return output(string(text) + "\n")
}

// writeStatus writes s for people.
func writeStatus(w io.Writer, s *daemon.Status) error {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, "keyrack: "+format+"\n", args...) }
	if s.Root == "" {
		line("no worksite here")
	} else {
		line("%s", headline(s))
		if s.Why != "" && s.State != daemon.StateOK {
			line("%s", s.Why)
		}
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		for _, secret := range s.Secrets {
			fmt.Fprintf(table, "  %s\t%s\t%s\n", secretName(secret), secretState(secret)+forState(secret)+confirmState(secret), secret.Source)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	line("%s", rackLine(s))
	line("daemon: pid %d, %s; values in: %s", s.Daemon.PID, s.Daemon.Version, s.Daemon.Memory)
	line("shared by: %s", s.Daemon.Scope)
	line("locks on: %s", strings.Join(append([]string{"keyrack lock"}, s.Daemon.LocksOn...), ", "))
	if s.Daemon.Audit.Dropped > 0 {
		line("%s", auditLine(s.Daemon.Audit))
	}
	for _, weak := range s.Daemon.Weak {
		line("not in force: %s", weak)
	}
	if s.Hint != "" {
		fmt.Fprintln(&text, s.Hint)
	} else if s.Locked {
		fmt.Fprintln(&text, "keyrack unlock")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// headline names the worksite, how it stands and where it is.
func headline(s *daemon.Status) string {
	name := s.Site
	if name == "" {
		name = "this worksite"
	}
	text := name + ": " + strings.ReplaceAll(s.State, "-", " ")
	if s.State == daemon.StateOK {
		text += ", exported while a command runs"
		if s.Export == "tree" {
			text = name + ": ok, exported while a shell is inside"
		}
	}
	return text + " (" + worksite.Visible(s.Root) + ")"
}

func secretName(s daemon.SecretStatus) string {
	if s.Env != s.Name {
		return s.Name + " as " + s.Env
	}
	return s.Name
}

func secretState(s daemon.SecretStatus) string {
	switch {
	case s.Held:
		return fmt.Sprintf("held, %s left of %s", short(s.LeftSeconds), short(s.TTLSeconds))
	case s.State == daemon.StateAvailable:
		return "available for " + short(s.TTLSeconds) + ", not held"
	case s.State == daemon.StateUnasked:
		return "not asked yet, for " + short(s.TTLSeconds)
	case s.Why != "" && s.State != "":
		return s.State + ": " + s.Why
	case s.Why != "":
		return s.Why
	}
	return s.State
}

// forState says which commands alone get the secret.
func forState(s daemon.SecretStatus) string {
	switch {
	case s.As == worksite.AsFile:
		return "; as a file for " + commandsOf(s)
	case s.As == worksite.AsTmpfile:
		return "; as a file with a name for " + commandsOf(s)
	case s.For == nil:
		return ""
	}
	return "; for " + commandsOf(s)
}

// confirmState says whether the secret waits for a person's yes.
func confirmState(s daemon.SecretStatus) string {
	switch {
	case s.Confirm == worksite.ConfirmAlways:
		return "; needs your yes each time, in keyrack exec"
	case s.Confirm != worksite.ConfirmSession:
		return ""
	case s.Confirmed:
		return "; with your yes until keyrack lock"
	}
	return "; waits for your yes: keyrack exec -- COMMAND"
}

func rackLine(s *daemon.Status) string {
	switch {
	case s.Rack == "":
		return "rack: none yet: keyrack rack create"
	case s.Locked:
		return "rack: locked (lock: " + s.Rack + ")"
	case s.RackKeyLeft > 0:
		return "rack: unlocked for " + short(s.RackKeyLeft) + " (lock: " + s.Rack + ")"
	case s.Rack == "passphrase":
		return "rack: locked (lock: passphrase): keyrack unlock"
	}
	return "rack: answers by itself (lock: " + s.Rack + ")"
}

// short writes a number of seconds as "1h30m", without the units that are 0.
func short(seconds int64) string {
	text := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
