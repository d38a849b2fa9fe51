package daemon

import (
	"os"

	"golang.org/x/sys/unix"
)

// undumpable keeps debuggers away from this process.
func undumpable() error {
	return unix.PtraceDenyAttach()
}

// selfPath is the running program.
func selfPath() (string, error) { return os.Executable() }
