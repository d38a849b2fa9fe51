package daemon

import "golang.org/x/sys/unix"

// acceptOne accepts one connection, which does not block.
func acceptOne(fd int) (int, error) {
	client, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	return client, err
}
