package source

import "golang.org/x/sys/unix"

// closeInherited closes what this process got besides its standard files, before
// it opens anything itself.
func closeInherited() {
	_ = unix.CloseRange(outputFD+1, 1<<32-1, 0) // before Linux 5.9 there is no such call, and what came in stays
}
