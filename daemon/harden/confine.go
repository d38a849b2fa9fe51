package harden

import "fmt"

// Confinement is what a program that is not trusted may reach of the file system. It
// may read and run everything but what is Closed or Hidden, and change what is in Write.
// Read and Write may name what is Hidden, never what is Closed. What comes to be at the
// top of a directory above a hidden one is hidden as well. Paths are absolute.
type Confinement struct {
	Closed, Hidden []string
	Read, Write    []string
}

// HiddenError says that Path, which was to be allowed, holds what is hidden, or lies in it.
type HiddenError struct{ Path, Hidden string }

func (e *HiddenError) Error() string {
	if e.Path == e.Hidden {
		return fmt.Sprintf("%s is kept from what runs in a sandbox", e.Path)
	}
	return fmt.Sprintf("%s can't be open to what runs in a sandbox, since %s is kept from it", e.Path, e.Hidden)
}
