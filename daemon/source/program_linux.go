package source

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// programCopy is a copy of a program. What was looked at is what runs, whatever
// becomes of the file: also of a script, which its interpreter reads from the
// descriptor that the command inherits.
type programCopy struct{ bytes.Buffer }

func newCopy(*os.File) *programCopy { return &programCopy{} }

// command runs the copy from a file in memory that nobody can change. The caller
// closes its files.
func (c *programCopy) command() (*exec.Cmd, error) {
	// What somebody has open for writing can't be executed, and so does a child of this
	// process from its fork until its own program starts.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("program", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all can be executed
		fd, err = unix.MemfdCreate("program", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("no copy in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "program")
	defer file.Close()
	if _, err = file.Write(c.Bytes()); err == nil {
		err = unix.Fchmod(fd, 0o500)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, err
	}
	program, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: "/proc/self/fd/3", ExtraFiles: []*os.File{program}}, nil
}
