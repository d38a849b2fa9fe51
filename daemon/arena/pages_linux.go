package arena

import "golang.org/x/sys/unix"

// mapPages maps size bytes, zeroed, of the kind. The descriptor of secret memory
// is closed once it is mapped: who gets hold of one could map it too.
//
// memfd_secret(2): pages that are in no other page table, not even the kernel's;
// they count against RLIMIT_MEMLOCK, which mmap answers with EAGAIN.
func mapPages(kind Kind, size int) ([]byte, error) {
	if kind == Secret {
		fd, err := unix.MemfdSecret(unix.O_CLOEXEC) // FD_CLOEXEC, which the manual names, is EINVAL
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return nil, err
		}
		return unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	err = unix.Madvise(mem, unix.MADV_DONTDUMP)
	if err == nil {
		err = unix.Madvise(mem, unix.MADV_DONTFORK)
	}
	if err == nil && kind == Locked {
		err = unix.Mlock(mem)
	}
	if err != nil {
		unmap(mem)
		return nil, err
	}
	return mem, nil
}

func unmap(mem []byte) {
	unix.Munmap(mem) // fails only for what was never mapped
}
