package cmd

import "golang.org/x/sys/unix"

// flushKeys throws away what was typed and not read yet.
func flushKeys(fd int) error {
	const fread = 1 // FREAD of sys/fcntl.h
	for {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, fread); err != unix.EINTR {
			return err
		}
	}
}
