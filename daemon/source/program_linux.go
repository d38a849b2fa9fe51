package source

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"keyrack/daemon/harden"
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
	file, err := harden.SealedProgram("program", &c.Buffer, 0o500)
	if err != nil {
		return nil, fmt.Errorf("no copy in memory: %w", err)
	}
	defer file.Close()
	program, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: "/proc/self/fd/3", ExtraFiles: []*os.File{program}}, nil
}
