package harden

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// shut keeps debuggers away from this moment on, which is all that macOS has. One
// that is attached already ends the process.
func shut() (unreadable bool, err error) {
	if err := unix.PtraceDenyAttach(); err != nil {
		return false, fmt.Errorf("closing this process to others: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return false, fmt.Errorf("forbidding cores: %w", err)
	}
	return false, nil
}

func runCopy([]string, []string, []*os.File) error {
	return errors.New("macOS runs no program that can't be read")
}

func ownKeyring() string { return "macOS has none" }

// run is Again from the file at path.
func run(path string, args, environ []string, files []*os.File) error {
	if files == nil {
		return syscall.Exec(path, args, environ)
	}
	return startChild(path, args, environ, files)
}

// Self is the path by which this process starts its own program again.
func Self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func name() {}

func unheard() error { return nil }

func replace(fd, old int) error { return unix.Dup2(fd, old) }

// Filter says that macOS has no such thing.
func Filter() (weak []string) { return []string{"a system call filter: macOS has none"} }

// LeaveKeyring does nothing: macOS has no such keyrings.
func LeaveKeyring() {}
