package daemon

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// acceptTime is how long nobody is accepted after that failed.
const acceptTime = 10 * time.Millisecond

// accept gives the connections that come to listener, which do not block, to serve
// until ctx ends. It spares what a net.Conn costs that waits for nothing. failed is
// told of what keeps it from accepting for the moment.
func accept(ctx context.Context, listener net.Listener, serve func(fd int), failed func(error)) error {
	unixListener, ok := listener.(*net.UnixListener)
	if !ok {
		return errors.New("the daemon listens at a unix socket")
	}
	file, err := unixListener.File() // on the poller too, and lends its descriptor
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { listener.Close(); file.Close() })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var problem error
		err := raw.Read(func(fd uintptr) bool {
			problem = acceptAll(int(fd), serve)
			return problem != unix.EAGAIN
		})
		switch {
		case ctx.Err() != nil:
		case err != nil:
			return err
		default:
			failed(problem)
			time.Sleep(acceptTime)
		}
	}
	return nil
}

// acceptAll accepts who waits, and returns what ends that: EAGAIN where nobody
// does.
func acceptAll(fd int, serve func(fd int)) error {
	for {
		client, err := acceptOne(fd)
		switch err {
		case nil:
			serve(client)
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return err
		}
	}
}
