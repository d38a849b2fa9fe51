package cmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// tty is the terminal that this program belongs to, wherever its standard files
// go. It stays in the mode in which it is: Ctrl-C and Ctrl-Z do what they do.
type tty struct {
	fd    int
	turn  *os.File       // locked, at the byte of this terminal, while it asks
	stops chan os.Signal // Ctrl-Z, which must not stop a program that others wait for
}

// errNoTerminal says that there is nobody to ask.
var errNoTerminal = errors.New("no terminal")

func openTTY() (*tty, error) {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	if fd >= unix.FD_SETSIZE { // more than select can wait for
		unix.Close(fd)
		return nil, errNoTerminal
	}
	place, err := wire.FindPlace()
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	turn, err := os.OpenFile(filepath.Join(place.Dir, "asking"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	t := &tty{fd, turn, make(chan os.Signal, 1)}
	signal.Notify(t.stops, syscall.SIGTSTP)
	return t, nil
}

func (t *tty) close() {
	signal.Stop(t.stops)
	t.turn.Close()
	unix.Close(t.fd)
}

// begin waits until no other program of this kind asks on the terminal, and this
// one is in its foreground; keys that were typed before are thrown away. Like
// every program that wants keys in the background, it is stopped until somebody
// brings it to the front. It is errNoTerminal where nobody can.
func (t *tty) begin() error {
	for limit := time.Now().Add(turnTime); time.Now().Before(limit); t.pause() {
		group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
		if err == nil && group != unix.Getpgrp() && stop() {
			continue
		}
		if err != nil || group != unix.Getpgrp() {
			return errNoTerminal
		}
		err = t.lock(unix.F_WRLCK)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) { // another one asks
			continue
		}
		if err == nil {
			err = flushKeys(t.fd)
		}
		return err
	}
	return errors.New("a question that somebody else asks on this terminal stays without an answer")
}

// How long a program waits for its turn, and how often it looks.
const (
	turnTime = 10 * time.Minute
	turnTick = 50 * time.Millisecond
)

// pause waits a moment, or while the program is stopped.
func (t *tty) pause() {
	select {
	case <-t.stops:
		stop()
	case <-time.After(turnTick):
	}
}

// end lets the next one ask.
func (t *tty) end() { t.lock(unix.F_UNLCK) }

// lock takes the byte of the terminal, which its session has alone, or gives it
// back. The kernel does that when the process ends.
func (t *tty) lock(kind int16) error {
	session, err := unix.Getsid(0)
	if err != nil {
		return err
	}
	return unix.FcntlFlock(t.turn.Fd(), unix.F_SETLK, &unix.Flock_t{Type: kind, Start: int64(session), Len: 1})
}

func (t *tty) write(text string) {
	for b := []byte(text); len(b) > 0; {
		n, err := unix.Write(t.fd, b)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // the read tells
		}
		b = b[max(n, 0):]
	}
}

// tick is how often line calls its caller back.
const tick = 200 * time.Millisecond

// errStopped says that the program was stopped at the question, and goes on.
var errStopped = errors.New("stopped")

// line reads a line. Meanwhile it calls enough, and returns its error. At Ctrl-Z
// it lets others ask while this program is stopped; then the caller begins anew.
func (t *tty) line(enough func() error) (string, error) {
	var text []byte
	for {
		select {
		case <-t.stops:
			t.end()
			stop()
			return "", errStopped
		default:
		}
		if err := enough(); err != nil {
			return "", err
		}
		if !readable(t.fd, tick) {
			continue
		}
		keys := make([]byte, 4<<10)
		n, err := unix.Read(t.fd, keys)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return "", errNoTerminal
		case n == 0:
			return "", io.EOF
		case bytes.IndexByte(keys[:n], 'C'-'@') >= 0: // where the terminal makes no signal of it
			return "", interrupted
		}
		text = append(text, keys[:n]...)
		if end := bytes.IndexAny(text, "\r\n"); end >= 0 || len(text) > 4<<10 {
			return string(text[:max(end, 0)]), nil
		}
	}
}

// readable waits for a key. It is no poll, which macOS has not for terminals.
func readable(fd int, within time.Duration) bool {
	var set unix.FdSet
	set.Set(fd)
	limit := unix.NsecToTimeval(int64(within))
	n, err := unix.Select(fd+1, &set, nil, nil, &limit)
	return err == nil && n > 0
}

// stop does what Ctrl-Z does to a program that doesn't look, and where nobody could
// go on with it, nothing. It returns when the program goes on, and whether it was
// stopped. Go can't give SIGTSTP its default back; SIGTTIN has the same one.
func stop() (stopped bool) {
	goes := make(chan os.Signal, 1)
	signal.Notify(goes, syscall.SIGCONT)
	defer signal.Stop(goes)
	syscall.Kill(os.Getpid(), syscall.SIGTTIN)
	select { // the signal stops this process a moment after it was sent, or not at all
	case <-goes:
		return true
	case <-time.After(stopTime):
		return false
	}
}
