package source

import (
	"os"
	"os/exec"
)

// programCopy is no copy: macOS runs nothing from memory. Who may write the file can
// put another in its place between the look and the start.
type programCopy struct{ path string }

func newCopy(file *os.File) *programCopy { return &programCopy{file.Name()} }

func (c *programCopy) Write(b []byte) (int, error) { return len(b), nil }

func (c *programCopy) command() (*exec.Cmd, error) { return &exec.Cmd{Path: c.path}, nil }
