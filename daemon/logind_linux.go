package daemon

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// What is used of logind: org.freedesktop.login1(5). Manager says that the machine
// is about to sleep, and that a session or a user is gone; a Session's Lock asks
// for the screen to be locked.
const (
	logindName    = "org.freedesktop.login1"
	logindPath    = dbus.ObjectPath("/org/freedesktop/login1")
	logindManager = logindName + ".Manager"
	logindSession = logindName + ".Session"
)

// logindTime bounds one question to logind.
const logindTime = 2 * time.Second

// logind is one connection to the system bus.
type logind struct {
	bus     *dbus.Conn
	w       watcher
	own     dbus.ObjectPath // our session, "" where there is none
	inhibit int             // delays sleep until it is closed, -1 for none
}

// watchLogind has w act on logind's words until ctx ends. Where there is no
// system bus or no logind, it says so and returns.
func watchLogind(ctx context.Context, w watcher) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		l, signals, err := openLogind(ctx, w)
		if err != nil {
			w.log("suspend, screen lock and logout are not seen: " + err.Error())
			return
		}
		w.watching(true)
		l.run(ctx, signals)
		w.watching(false)
		l.close()
		select { // the bus went away: it may come back
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func openLogind(ctx context.Context, w watcher) (*logind, <-chan *dbus.Signal, error) {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, nil, errors.New("no system bus")
	}
	l := &logind{bus: bus, w: w, inhibit: -1}
	signals := make(chan *dbus.Signal, 64)
	bus.Signal(signals)
	if err := l.subscribe(ctx); err != nil {
		l.close()
		return nil, nil, err
	}
	l.delaySleep(ctx)
	return l, signals, nil
}

func (l *logind) close() {
	l.allowSleep()
	l.bus.Close()
}

// subscribe asks for the signals, and finds our session.
func (l *logind) subscribe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, logindTime)
	defer cancel()
	for _, options := range [][]dbus.MatchOption{
		{dbus.WithMatchInterface(logindManager), dbus.WithMatchObjectPath(logindPath)},
		{dbus.WithMatchInterface(logindSession), dbus.WithMatchMember("Lock")},
	} {
		options = append(options, dbus.WithMatchSender(logindName))
		if err := l.bus.AddMatchSignalContext(ctx, options...); err != nil {
			return errors.New("the system bus lets nobody listen")
		}
	}
	var sessions []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := l.bus.Object(logindName, logindPath).CallWithContext(ctx, logindManager+".ListSessions", 0).Store(&sessions); err != nil {
		return errors.New("no logind")
	}
	for _, s := range sessions {
		if l.w.session != "" && int(s.UID) == os.Geteuid() && l.audit(ctx, s.Path) == l.w.session {
			l.own = s.Path
		}
	}
	return nil
}

// audit is the audit session id of a session, "" for none.
func (l *logind) audit(ctx context.Context, session dbus.ObjectPath) string {
	var id uint32
	if l.property(ctx, session, "Audit", &id) != nil || id == 0 || id == 1<<32-1 {
		return ""
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (l *logind) property(ctx context.Context, session dbus.ObjectPath, name string, to any) error {
	return l.bus.Object(logindName, session).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, logindSession, name).Store(to)
}

// run acts on signals until ctx ends or the bus goes away.
func (l *logind) run(ctx context.Context, signals <-chan *dbus.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, open := <-signals:
			if !open {
				return
			}
			l.take(ctx, s)
		}
	}
}

func (l *logind) take(ctx context.Context, s *dbus.Signal) {
	switch s.Name {
	case logindManager + ".PrepareForSleep":
		if start, ok := first[bool](s); ok && start {
			l.w.lock("suspend")
			l.allowSleep()
		} else if ok {
			l.delaySleep(ctx)
		}
	case logindSession + ".Lock":
		if l.ours(ctx, s.Path) {
			l.w.lock("screen lock")
		}
	case logindManager + ".SessionRemoved":
		if len(s.Body) == 2 && l.own != "" && s.Body[1] == l.own {
			l.w.leave("logout")
		}
	case logindManager + ".UserRemoved":
		if uid, ok := first[uint32](s); ok && int(uid) == os.Geteuid() {
			l.w.leave("logout")
		}
	}
}

func first[T any](s *dbus.Signal) (v T, ok bool) {
	if len(s.Body) == 0 {
		return v, false
	}
	v, ok = s.Body[0].(T)
	return v, ok
}

// ours says whether the daemon serves the session: the one that is its own, or
// where it has none any session of its user. One that can't be asked counts.
func (l *logind) ours(ctx context.Context, session dbus.ObjectPath) bool {
	if l.own != "" {
		return session == l.own
	}
	ctx, cancel := context.WithTimeout(ctx, logindTime)
	defer cancel()
	var user struct {
		UID  uint32
		Path dbus.ObjectPath
	}
	return l.property(ctx, session, "User", &user) != nil || int(user.UID) == os.Geteuid()
}

// delaySleep has the machine wait, for the 5 seconds that logind gives by
// default, until the values are wiped. Without it they are wiped all the same, but
// perhaps after the machine has woken up.
func (l *logind) delaySleep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, logindTime)
	defer cancel()
	var fd dbus.UnixFD
	call := l.bus.Object(logindName, logindPath).CallWithContext(ctx, logindManager+".Inhibit", 0, "sleep", "keyrack", "wiping secrets", "delay")
	if call.Store(&fd) == nil {
		l.allowSleep()
		l.inhibit = int(fd)
		unix.CloseOnExec(l.inhibit)
	}
}

func (l *logind) allowSleep() {
	if l.inhibit >= 0 {
		unix.Close(l.inhibit)
		l.inhibit = -1
	}
}
