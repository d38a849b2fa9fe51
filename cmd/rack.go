package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"keyrack/daemon/source"
	"keyrack/shells"
	"keyrack/worksite"
)

func rackCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rack",
		Short: "make the rack, which keeps values at rest, or say where it is",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(c, "there are rack create and rack status")
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return usage(c, "create or status?") },
	}
	c.AddCommand(rackCreateCommand(), rackStatusCommand())
	return c
}

// locks are the kinds of lock, as they are offered.
var locks = []struct{ kind, words string }{
	{source.Keyring, "this system's keyring keeps the key: open while you are logged in"},
	{source.Passphrase, "a passphrase opens the key: keyrack unlock asks for it, once in 8h"},
	{source.None, "a plain file is the key: for CI and demos"},
}

func rackCreateCommand() *cobra.Command {
	var kind string
	c := &cobra.Command{
		Use:   "create",
		Short: "make an empty rack; its lock is chosen once",
		Long: `Makes an empty rack: one age file that the public age tool can read too. Its key
is behind a lock that you choose once:

    keyring      this system's keyring keeps the key: open while you are logged in
    passphrase   a passphrase opens the key: keyrack unlock asks for it, once in 8h
    none         a plain file is the key: for CI and demos

On a terminal it asks which. A passphrase is asked for twice, or read from the
first line of standard input. A rack that is there is never replaced.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			switch kind {
			case source.Keyring, source.Passphrase, source.None:
			case "":
				if !onTerminal() {
					return usage(c, "which lock? --lock keyring, --lock passphrase or --lock none")
				}
			default:
				return usage(c, "--lock is keyring, passphrase or none")
			}
			return createRack(c.Context(), kind)
		},
	}
	c.Flags().StringVar(&kind, "lock", "", "the `KIND` of lock: keyring, passphrase or none")
	return c
}

func createRack(ctx context.Context, kind string) error {
	store, err := rack()
	if err != nil {
		return err
	}
	there, err := store.Kind()
	if err != nil {
		return err
	}
	if there != "" {
		return fmt.Errorf("%w: %s (lock: %s)", source.ErrExists, worksite.Visible(store.File()), there)
	}
	q := &questions{}
	if kind == "" {
		if kind, err = chooseLock(ctx, q); err != nil {
			return err
		}
	}
	lock := source.Lock{Kind: kind, Program: self()}
	if kind == source.Passphrase {
		if lock.Passphrase, err = newPassphrase(q); err != nil {
			return err
		}
		defer clear(lock.Passphrase)
	}
	key, reused, err := store.Create(ctx, lock)
	if errors.Is(err, source.ErrKeyring) {
		return &hinted{err, "keyrack rack create --lock passphrase"}
	}
	if err != nil {
		return err
	}
	defer clear(key)
	sayMade(store, kind, reused)
	if kind == source.Passphrase { // it was given a moment ago
		unlockNew(ctx, key)
	}
	return nil
}

func sayMade(store source.Rack, kind string, reused bool) {
	say("made the rack %s (lock: %s)", worksite.Visible(store.File()), kind)
	if reused {
		say("its key is the one that an earlier rack left")
	}
	switch kind {
	case source.None:
		say("its key is a plain file: who can read %s reads every secret", worksite.Visible(store.KeyFile(kind)))
	case source.Passphrase:
		say("nobody can open it without the passphrase, and nothing resets that")
	}
}

// unlockNew unlocks a rack that was just made. A failure changes nothing of that.
func unlockNew(ctx context.Context, key []byte) {
	client, err := connect(ctx)
	if err == nil {
		err = giveKey(ctx, client, key, 0)
	}
	if err != nil {
		say("it is not unlocked: %s", err)
		hint("keyrack unlock")
	}
}

// chooseLock asks which lock the rack is to have, offering what is there.
func chooseLock(ctx context.Context, q *questions) (string, error) {
	unreachable := source.KeyringReachable(ctx, self())
	say("the rack's key needs a lock, which stays:")
	for _, l := range locks {
		if l.kind == source.Keyring && unreachable != nil {
			continue
		}
		prompt(fmt.Sprintf("  %-11s %s\n", l.kind, l.words))
	}
	if unreachable != nil {
		say("not offered: %s", unreachable)
	}
	for range tries {
		answer, err := q.visible("which one? ")
		if err != nil {
			return "", err
		}
		for _, l := range locks {
			if answer != "" && strings.HasPrefix(l.kind, answer) {
				return l.kind, nil
			}
		}
		say("one of the words, please")
	}
	return "", errors.New("no lock was chosen: there is no rack yet")
}

// newPassphrase gets the passphrase for a new rack.
func newPassphrase(q *questions) ([]byte, error) {
	if !onTerminal() {
		passphrase, err := readInput(true)
		if err == nil && len(passphrase) == 0 {
			err = errors.New("no passphrase: it is asked for on a terminal, or read from standard input")
		}
		return passphrase, err
	}
	for range tries {
		passphrase, err := q.hidden("a new passphrase: ", false)
		if err != nil {
			return nil, err
		}
		if len(passphrase) == 0 {
			say("a passphrase is not empty")
			continue
		}
		again, err := q.hidden("the same passphrase again: ", false)
		same := bytes.Equal(passphrase, again)
		clear(again)
		if err == nil && same {
			return passphrase, nil
		}
		clear(passphrase)
		if err != nil {
			return nil, err
		}
		say("the two differ")
	}
	return nil, errors.New("no passphrase was given: there is no rack yet")
}

func rackStatusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "say where the rack and its key are, and how they are locked",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := rack()
			if err != nil {
				return err
			}
			kind, err := store.Kind()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(map[string]string{"file": store.File(), "lock": kind, "key_file": store.KeyFile(kind)})
			}
			sayRack(store, kind)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON on standard output")
	return c
}

// sayRack says what a person needs to back the rack up, or to read it by hand.
func sayRack(store source.Rack, kind string) {
	if kind == "" {
		say("there is no rack yet; it would be %s", worksite.Visible(store.File()))
		hint("keyrack rack create")
		return
	}
	say("rack: %s", worksite.Visible(store.File()))
	say("lock: %s", kind)
	if file := store.KeyFile(kind); file != "" {
		say("key: %s", worksite.Visible(file))
		hint("age -d -i " + shells.Bash.QuoteString(file) + " " + shells.Bash.QuoteString(store.File()))
		return
	}
	say("key: in the keyring, %s", source.KeyringItem)
}
