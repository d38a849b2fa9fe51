package source

import (
	"os"

	"golang.org/x/sys/unix"
)

// keyringEnvironment is what the keyring's program is started with.
func keyringEnvironment() ([]string, error) { return os.Environ(), nil }

// personHere is true: macOS itself knows whether it can show a prompt, and fails
// at once where it can't.
func personHere() bool { return true }

// probe has nothing to find out: every macOS has a keychain.
func probe() error { return nil }

// explain has nothing to add.
func explain(err error) error { return err }

// undumpable keeps debuggers away from this process.
func undumpable() error { return unix.PtraceDenyAttach() }

// endGroup ends the program that the keyring's library started, and this process
// with it, where both are a group of their own.
func endGroup() {
	if unix.Getpgrp() == os.Getpid() {
		unix.Kill(-os.Getpid(), unix.SIGKILL)
	}
}
