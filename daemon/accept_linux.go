package daemon

import "golang.org/x/sys/unix"

// acceptOne accepts one connection, which does not block. A client's address is
// nothing, and is not asked for.
func acceptOne(fd int) (int, error) {
	client, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(client), nil
}
