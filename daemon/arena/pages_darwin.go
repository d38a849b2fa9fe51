package arena

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mapPages maps size bytes, zeroed, of the kind. macOS has no secret memory; it
// writes no core of a process whose limit says so, which the daemon's does.
func mapPages(kind Kind, size int) ([]byte, error) {
	if kind == Secret {
		return nil, errors.ErrUnsupported
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	if kind == Locked {
		if err := unix.Mlock(mem); err != nil {
			unmap(mem)
			return nil, err
		}
	}
	return mem, nil
}

func unmap(mem []byte) {
	unix.Munmap(mem) // fails only for what was never mapped
}
