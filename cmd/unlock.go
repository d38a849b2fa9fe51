package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"keyrack/daemon"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

func unlockCommand() *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "unlock",
		Short: "end lock; a rack with a passphrase asks for it",
		Long: `Ends keyrack lock. Where the rack's lock is a passphrase, it asks for that, hidden,
or reads it from the first line of standard input, and the daemon keeps the rack's
key for 8h, or for --ttl.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			given := c.Flags().Changed("ttl")
			if given && ttl <= 0 {
				return usage(c, "--ttl is longer than 0")
			}
			store, err := rack()
			if err != nil {
				return err
			}
			kind, err := store.Kind()
			if err != nil {
				return err
			}
			if given && kind != source.Passphrase {
				return usage(c, "--ttl is how long a passphrase holds, and this rack has none")
			}
			return unlock(c.Context(), store, kind, ttl)
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long the daemon keeps the rack's key, such as 30m")
	return c
}

func unlock(ctx context.Context, store source.Rack, kind string, ttl time.Duration) error {
	client, err := connect(ctx)
	if err != nil {
		return err
	}
	if kind != source.Passphrase {
		if err := client.Unlock(ctx, nil, 0); err != nil {
			return err
		}
		say("unlocked")
		return nil
	}
	key, err := keyFromPerson(store)
	if err != nil {
		return err
	}
	defer clear(key)
	return giveKey(ctx, client, key, ttl)
}

// giveKey unlocks the daemon with the rack's key.
func giveKey(ctx context.Context, client *daemon.Client, key []byte, ttl time.Duration) error {
	if err := client.Unlock(ctx, key, ttl); err != nil {
		return err
	}
	status, err := client.Status(ctx, "")
	if err != nil {
		return err
	}
	say("unlocked for %s", short(status.RackKeyLeft))
	return nil
}

// tries is how often a person at a terminal may mistype a passphrase.
const tries = 3

// keyFromPerson asks for the passphrase that opens the rack's key.
func keyFromPerson(store source.Rack) ([]byte, error) {
	if !onTerminal() {
		passphrase, err := readInput(true)
		defer clear(passphrase)
		if err == nil && len(passphrase) == 0 {
			err = errors.New("no passphrase: it is asked for on a terminal, or read from standard input")
		}
		if err != nil {
			return nil, err
		}
		return tryPassphrase(store, passphrase, 1)
	}
	q := &questions{}
	for try := 1; ; try++ {
		passphrase, err := q.hidden("passphrase of the rack: ", false)
		if err != nil {
			return nil, err
		}
		key, err := tryPassphrase(store, passphrase, try)
		clear(passphrase)
		if !errors.Is(err, source.ErrPassphrase) || try == tries {
			return key, err
		}
		say("%s, try again", err)
	}
}

// backOff is how long a wrong passphrase makes its own process wait, times the
// number of its tries. It slows down who types, and scripts; somebody who has the
// rack's files needs no keyrack to guess.
const backOff = 500 * time.Millisecond

// tryPassphrase opens the rack's key. Trying takes a second of a processor and
// 256 MiB, so that of all processes one at a time tries, at a low priority: the
// daemon's other clients go before. Who was wrong waits outside that queue, so
// the right passphrase is not held up by it.
func tryPassphrase(store source.Rack, passphrase []byte, try int) ([]byte, error) {
	leave, err := queue()
	if err != nil {
		return nil, err
	}
	key, err := store.KeyFromPassphrase(passphrase)
	leave()
	if errors.Is(err, source.ErrPassphrase) {
		time.Sleep(time.Duration(try) * backOff)
	}
	return key, err
}

// queue waits until no other process tries a passphrase. The kernel ends the
// lock with the process that holds it.
func queue() (leave func(), err error) {
	place, err := wire.FindPlace()
	if err == nil {
		err = place.Make()
	}
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(place.Dir, "unlocking"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("waiting for others that unlock: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("waiting for others that unlock: %w", err)
	}
	runtime.LockOSThread() // a priority is a thread's, on Linux
	unix.Setpriority(unix.PRIO_PROCESS, 0, 10)
	return func() { file.Close() }, nil
}
