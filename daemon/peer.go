package daemon

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// peer is the process that connected. The socket's credentials are those of that
// moment, and a pid is anybody's once its process has ended, so what was read
// about it counts only if same says so afterwards: the order is always handle,
// facts, same, answer.
//
// A directory is none of the facts. Any process of the user may name any worksite,
// so where it stands proves nothing about what it may have; the approval is bound
// to the directory that it names, and to the file there, which the daemon reads
// itself.
type peer struct {
	pid        int
	session    string
	program    program
	known      *known // what is remembered of the process, nil for nothing
	remembered bool   // program is what it ran when it asked before
	handle     handle
	kept       bool // the handle is known's
}

// errEnded and errAnother say that it is not known any more who gets the answer.
var (
	errEnded   = refused("the process that asked has ended")
	errAnother = refused("the process that asked now runs another program")
)

// newPeer finds out who is at the other end of the socket fd, where it is nobody whom
// known recalls. The caller releases it.
func newPeer(fd int, known *acquaintances) (*peer, error) {
	uid, pid, err := wire.Peer(fd)
	p := &peer{pid: pid}
	if err == nil && uid == own && !known.recall(p) {
		p.handle, err = hold(fd, pid)
	}
	switch {
	case uid != own:
		return nil, refused("this daemon serves another user")
	case errors.Is(err, errEnded):
		return nil, errEnded
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		return nil, err
	case err != nil:
		return nil, refused("who asks is unknown (" + err.Error() + ")")
	}
	return p, nil
}

// own is the user whose daemon this is.
var own = os.Geteuid()

// same says whether the process still lives, and runs the program that it ran. An
// exec before the daemon first looked can't be seen.
func (p *peer) same() error {
	now := programOf(p.pid)
	switch {
	case !p.handle.alive():
		return errEnded
	case now != p.program:
		return errAnother
	}
	return nil
}

// admits says whether p may ask a daemon of place. No login session is no session
// of its own: it is never the same as another one.
func admits(place wire.Place, p *peer) error {
	if !place.Shared && p.session != place.Session {
		return refused("this daemon serves another login session")
	}
	return nil
}

func refused(why string) *wire.Error {
	return &wire.Error{Status: wire.Unavailable, Message: why + ": refused"}
}
