package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// Version is this build's version in words, for `status`. The command sets it
// before it serves.
var Version = "devel"

// UnusedAfter is how long a daemon that holds nothing and has no client stays.
const UnusedAfter = 10 * time.Minute

// Options configure a daemon, or a Cache in process. The zero values of Now, Log
// and Unused mean CLOCK_BOOTTIME, nowhere, and UnusedAfter.
type Options struct {
	Place      wire.Place
	DataDir    string
	ConfigFile string
	AuditDir   string // of the audit log, "" for none

	// Now is the clock that ends values.
	Now func() time.Duration

	// Log takes lines for who runs the daemon by hand. They hold no value.
	Log func(line string)

	// Code makes shell code of a grant, in room that it asks for once, for a shell that
	// rings. Where it is nil nobody can.
	Code Code

	// Unused is how long a daemon without values and clients stays.
	Unused time.Duration

	// Program is the path of this program. Serve fills it in where it is "".
	Program string

	weak    []string // what is not in force that should be
	keyring string   // harden.State.Keyring, "" for no keys
	socket  int      // that the init system gave, 0 for none
	opener  opener   // of the rack; nil is a process of this program
	runner  *source.Runner
}

// ErrRunning says that another daemon serves the place.
var ErrRunning = errors.New("another daemon is running")

// Serve is the daemon: it hardens the process, becomes the one daemon of its
// place and answers until it is told to stop, a signal ends it, or nobody has
// used it for a while. All of these return nil, with every value wiped and the
// socket gone. It changes the whole process (umask, working directory,
// environment, limits), and runs its program a second time on the way: what the
// caller does before Serve is done twice.
func Serve(ctx context.Context, o Options) error {
	report := newReport()
	defer report.close()
	left, err := begin(&o, report)
	if err == nil && !left {
		err = serve(ctx, o, report)
	}
	if err != nil {
		report.failed(err)
	}
	return err
}

func serve(ctx context.Context, o Options, report *report) error {
	ctx, ignore := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	defer ignore() // last: a signal while it leaves must not cut that short
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	unlock, err := takeLock(o.Place, o.socket != 0)
	if err != nil {
		return err
	}
	defer unlock()
	listener, unlink, err := listenOr(o.Place, o.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	defer unlink()
	cache, err := NewCache(o)
	if err != nil {
		return err
	}
	defer cache.Close()
	if err := cache.refuseWeak(); err != nil {
		return err
	}
	defer watch(ctx, o, cache, leave)()
	report.up()
	return newServer(o, cache, leave).run(ctx, listener)
}

// report is how a daemon that wire.Start spawned tells how its start went. A
// daemon that was started by hand has none.
type report struct{ pipe *os.File }

func newReport() *report {
	if os.Getenv(wire.ReadyVariable) == "" {
		return &report{}
	}
	os.Unsetenv(wire.ReadyVariable)
	unix.CloseOnExec(readyFD)
	return &report{pipe: os.NewFile(readyFD, "ready")}
}

func (r *report) up() { r.say(wire.ReadyUp) }

func (r *report) failed(err error) {
	if errors.Is(err, ErrRunning) {
		r.say(wire.ReadyOther)
		return
	}
	r.say(err.Error())
}

// say writes once: the client reads no more.
func (r *report) say(text string) {
	if r.pipe == nil {
		return
	}
	r.pipe.WriteString(text) // a client that is gone needs no report
	r.close()
}

func (r *report) close() {
	if r.pipe != nil {
		r.pipe.Close()
		r.pipe = nil
	}
}

// readyFD is the descriptor that wire.Start promises in wire.ReadyVariable.
const readyFD = 3

// fileListener makes a listener of a socket that it closes.
func fileListener(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	return net.FileListener(file)
}
