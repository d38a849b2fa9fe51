package daemon

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// acceptOne accepts one connection, which does not block.
func acceptOne(fd int) (int, error) {
	syscall.ForkLock.RLock() // no process is started in between, which would inherit it
	defer syscall.ForkLock.RUnlock()
	client, _, err := unix.Accept(fd)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(client)
	return client, unix.SetNonblock(client, true)
}
