package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// Version is this build's version in words, for `status`. The command sets it
// before it serves.
var Version = "devel"

// UnusedAfter is how long a daemon that holds nothing and has no client stays.
const UnusedAfter = 10 * time.Minute

// Options configure a daemon, or a Cache in process. The zero values of Now, Log,
// and Unused mean CLOCK_BOOTTIME, nowhere, and UnusedAfter.
type Options struct {
	Place      wire.Place
	DataDir    string
	ConfigFile string

	// Key gets the rack's identity where the lock's kind answers by itself. The
	// cache wipes what it returns.
	Key func(ctx context.Context) ([]byte, error)

	// Now is the clock that ends values.
	Now func() time.Duration

	// Log takes lines for who runs the daemon by hand. They hold no value.
	Log func(line string)

	// Unused is how long a daemon without values and clients stays.
	Unused time.Duration
}

// ErrRunning says that another daemon serves the place.
var ErrRunning = errors.New("another daemon is running")

// Serve is the daemon: it hardens the process, becomes the one daemon of its
// place and answers until it is told to stop, a signal ends it, or nobody has
// used it for a while. All of these return nil, with every value wiped and the
// socket gone. It changes the whole process (umask, working directory,
// environment, limits).
func Serve(ctx context.Context, o Options) error {
	if err := harden(); err != nil {
		return err
	}
	detached, err := detach()
	if detached || err != nil {
		return err
	}
	report := newReport()
	defer report.close()
	if err := serve(ctx, o, report); err != nil {
		report.failed(err)
		return err
	}
	return nil
}

func serve(ctx context.Context, o Options, report *report) error {
	ctx, cancel := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	defer cancel()
	unlock, err := takeLock(o.Place)
	if err != nil {
		return err
	}
	defer unlock()
	listener, unlink, err := listen(o.Place)
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
	defer watch(ctx, o, cache, cancel)()
	report.up()
	return newServer(o, cache, cancel).run(ctx, listener)
}

// report is how a daemon that wire.Start spawned tells how its start went. A
// daemon that was started by hand has none.
type report struct{ pipe *os.File }

func newReport() *report {
	if os.Getenv(wire.ReadyVariable) == "" {
		return &report{}
	}
	os.Unsetenv(wire.ReadyVariable)
	os.Unsetenv(detachedVariable)
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

const (
	readyFD          = 3
	detachedVariable = "KEYRACK_DETACHED"
)

// detach makes the daemon a child of nobody's: the process that wire.Start
// spawned starts itself again and ends, so that a program which takes the place
// of the client, as `keyrack exec` lets it, never waits for a daemon. It reports
// whether this process is the one to end.
func detach() (bool, error) {
	if os.Getenv(wire.ReadyVariable) == "" || os.Getenv(detachedVariable) != "" {
		return false, nil
	}
	exe, err := selfPath()
	if err != nil {
		return false, err
	}
	process, err := os.StartProcess(exe, os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), detachedVariable+"=1"),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, os.NewFile(readyFD, "ready")},
	})
	if err != nil {
		return false, err
	}
	return true, process.Release()
}

// harden closes this process to others: no core, not dumpable, nothing created
// that others may open, and nothing of the directory and environment of whoever
// happened to start it.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	if err := undumpable(); err != nil {
		return err
	}
	unix.Umask(0o077)
	if err := os.Chdir("/"); err != nil {
		return err
	}
	keep := wire.CleanEnvironment(os.Environ())
	for _, name := range []string{wire.ReadyVariable, detachedVariable} {
		if value := os.Getenv(name); value != "" {
			keep = append(keep, name+"="+value)
		}
	}
	return setEnvironment(keep)
}

func setEnvironment(environ []string) error {
	os.Clearenv()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// fileListener makes a listener of a socket that it closes.
func fileListener(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	return net.FileListener(file)
}
