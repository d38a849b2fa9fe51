package source

import "golang.org/x/sys/unix"

// closeInherited closes what this process got besides its standard files. The
// runtime may have its own descriptors already: those close when a program is
// started, the others are what came in.
func closeInherited() {
	for fd := outputFD + 1; fd < 256; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
