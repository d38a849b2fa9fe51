package cmd

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/term"

	"keyrack/daemon"
	"keyrack/worksite"
)

// logIn offers, on the terminal of a person who sees it, to run what logs in to the
// stores in which nobody is, and says whether anything was run. The tools that the
// daemon asks have no terminal: here they have the caller's.
func logIn(ctx context.Context, client *daemon.Client, root string) (done bool) {
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return false
	}
	status, err := client.Status(ctx, root)
	if err != nil {
		return false // what kept the secrets back is said all the same
	}
	var offered []string
	for _, s := range status.Secrets {
		// One that sets a variable of the daemon's takes a new daemon.
		if s.Login == "" || strings.Contains(s.Login, "keyrack daemon stop") || slices.Contains(offered, s.Login) {
			continue
		}
		offered = append(offered, s.Login)
		yes, err := offer(s)
		if err != nil {
			return done
		}
		done = yes && runLogin(ctx, root, s.Login) || done
	}
	return done
}

// offer asks whether to run what logs in for s.
func offer(s daemon.SecretStatus) (yes bool, err error) {
	terminal, err := openTTY()
	if err != nil {
		return false, err
	}
	defer terminal.close()
	for {
		if err := terminal.begin(); err != nil {
			return false, err
		}
		terminal.write("keyrack: " + s.Name + " is missing: " + s.Why + "\nkeyrack: run this here now: " + worksite.Visible(s.Login) + "? [y/N] ")
		answer, err := terminal.line(func() error { return nil })
		if err == errStopped {
			continue
		}
		if err != nil {
			terminal.write("\n")
		}
		terminal.end()
		return isYes(answer), err
	}
}

// runLogin runs a login command, and says whether it worked. What it says is for the
// person: the caller's standard output is the command's that is to come.
func runLogin(ctx context.Context, root, login string) bool {
	c := exec.CommandContext(ctx, "/bin/sh", "-c", login)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = root, os.Stdin, os.Stderr, os.Stderr
	return c.Run() == nil
}
