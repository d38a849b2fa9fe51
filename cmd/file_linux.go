package cmd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// firstFile is the lowest descriptor of a file for a command: over those that scripts
// number themselves.
const firstFile = 60

// secretFile makes a file of value that is in memory alone, that nobody can change,
// that has no name but that of a descriptor which the command inherits (memfd_create(2)),
// and returns that. It is gone with the last process that has it open.
func secretFile(name string, value []byte) (path string, err error) {
	fd, err := unix.MemfdCreate("keyrack:"+name, unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("making the file of %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	if _, err := file.Write(value); err != nil {
		return "", fmt.Errorf("writing the file of %s: %w", name, err)
	}
	if err := unix.Fchmod(fd, 0o400); err != nil {
		return "", fmt.Errorf("closing the file of %s to others: %w", name, err)
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return "", fmt.Errorf("sealing the file of %s: %w", name, err)
	}
	inherited, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, firstFile)
	if err != nil {
		return "", fmt.Errorf("handing on the file of %s: %w", name, err)
	}
	return fmt.Sprintf("/dev/fd/%d", inherited), nil
}
