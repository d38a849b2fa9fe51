package cmd

import "golang.org/x/sys/unix"

// flushKeys throws away what was typed and not read yet.
func flushKeys(fd int) error {
	for {
		if err := unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH); err != unix.EINTR {
			return err
		}
	}
}
