package daemon

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

const systemBusConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:dir=DIR</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`

// systemBus starts a real D-Bus that nobody but this test uses, and makes it the system's.
func systemBus(t *testing.T, dir string) {
	t.Helper()
	config := dir + "/bus.conf"
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(systemBusConfig, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	bus := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address=1")
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Process.Kill(); bus.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", strings.TrimSpace(address))
}

// login1 stands in for logind: it speaks its interface on a real bus.
type login1 struct {
	t        *testing.T
	bus      *dbus.Conn
	sessions []login1Session
	delayed  chan *os.File // the test's end of each inhibitor's pipe
}

type login1Session struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

func newLogin1(t *testing.T, sessions ...login1Session) *login1 {
	t.Helper()
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	l := &login1{t: t, bus: bus, sessions: sessions, delayed: make(chan *os.File, 10)}
	if err := bus.Export(l, logindPath, logindManager); err != nil {
		t.Fatal(err)
	}
	for i := range sessions {
		if err := bus.Export(&login1Properties{&sessions[i]}, sessions[i].Path, "org.freedesktop.DBus.Properties"); err != nil {
			t.Fatal(err)
		}
	}
	if reply, err := bus.RequestName(logindName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return l
}

func (l *login1) ListSessions() ([]login1Session, *dbus.Error) { return l.sessions, nil }

func (l *login1) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "sleep" || who != "keyrack" || mode != "delay" {
		return 0, dbus.MakeFailedError(os.ErrInvalid)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	l.delayed <- r
	fd, err := unix.Dup(int(w.Fd()))
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	l.t.Cleanup(func() { r.Close() })
	w.Close()
	time.AfterFunc(time.Second, func() { unix.Close(fd) }) // sent by then
	return dbus.UnixFD(fd), nil
}

type login1Properties struct{ of *login1Session }

func (p *login1Properties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	switch iface + "." + name {
	case logindSession + ".User":
		return dbus.MakeVariant(struct {
			UID  uint32
			Path dbus.ObjectPath
		}{p.of.UID, "/org/freedesktop/login1/user/x"}), nil
	case logindSession + ".Audit":
		return dbus.MakeVariant(uint32(7)), nil
	}
	return dbus.Variant{}, dbus.MakeFailedError(os.ErrInvalid)
}

func (l *login1) emit(path dbus.ObjectPath, name string, args ...any) {
	l.t.Helper()
	if err := l.bus.Emit(path, name, args...); err != nil {
		l.t.Fatal(err)
	}
}

const (
	ourSession   = dbus.ObjectPath("/org/freedesktop/login1/session/_31")
	otherSession = dbus.ObjectPath("/org/freedesktop/login1/session/_32")
)

func bothSessions() []login1Session {
	return []login1Session{
		{"1", uint32(os.Geteuid()), "me", "seat0", ourSession},
		{"2", uint32(os.Geteuid()) + 1, "somebody", "seat0", otherSession},
	}
}

// watched makes a rig whose cache holds one value and listens to a stand-in logind.
func watchedRig(t *testing.T) (*rig, *login1) {
	r := newRig(t, "none", nil)
	systemBus(t, r.dir)
	l := newLogin1(t, bothSessions()...)
	ctx, cancel := context.WithCancel(context.Background())
	wait := watch(ctx, r.options, r.cache, cancel)
	t.Cleanup(func() { cancel(); wait() })
	await(t, "the watch to begin", r.cache.watched.Load)
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.want(r.grant(), wire.OK, "A=1")
	return r, l
}

// lockedAndEmpty waits until the cache is locked, and holds nothing.
func (r *rig) lockedAndEmpty() {
	r.t.Helper()
	await(r.t, "the lock", r.cache.isLocked)
	if !r.cache.empty() {
		r.t.Error("locked, but something is held")
	}
	r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
}

// Suspend locks, and the machine waits for it: the inhibitor is given back only after the values are wiped.
func TestLocksOnSuspend(t *testing.T) {
	r, l := watchedRig(t)
	inhibitor := <-l.delayed
	released := make(chan bool)
	go func() {
		io.ReadAll(inhibitor)
		released <- r.cache.isLocked() && r.cache.empty()
	}()
	l.emit(logindPath, logindManager+".PrepareForSleep", true)
	if !<-released {
		t.Error("the machine may sleep before the values are wiped")
	}
	r.lockedAndEmpty()
	l.emit(logindPath, logindManager+".PrepareForSleep", false)
	<-l.delayed // ready for the next time
	r.unlock(nil, 0)
	r.want(r.grant(), wire.OK, "A=1")
}

// The lock of this user's screen locks, another's does not.
func TestLocksOnScreenLock(t *testing.T) {
	r, l := watchedRig(t)
	l.emit(otherSession, logindSession+".Lock")
	l.emit(ourSession, logindSession+".Unlock")
	l.emit(logindPath, logindManager+".SessionNew", "3", otherSession)
	// What follows on the same connection comes in order: once this one has locked, those had no effect.
	r.want(r.grant(), wire.OK, "A=1")
	l.emit(ourSession, logindSession+".Lock")
	r.lockedAndEmpty()
	status, err := r.agent.Status(context.Background(), "")
	if err != nil || strings.Join(status.Daemon.LocksOn, ", ") != "suspend, screen lock, logout" {
		t.Errorf("status: %v, %v", status, err)
	}
}

// The lock of another session has no effect even when nothing else follows it.
func TestAnotherScreenLockHasNoEffect(t *testing.T) {
	r, l := watchedRig(t)
	l.emit(otherSession, logindSession+".Lock")
	<-l.delayed
	l.emit(logindPath, logindManager+".PrepareForSleep", false) // asks for an inhibitor once it is read
	<-l.delayed
	r.want(r.grant(), wire.OK, "A=1")
}

// Logout ends the daemon itself, with its socket.
func TestLeavesOnLogout(t *testing.T) {
	h := newHome(t)
	systemBus(t, h.dir)
	l := newLogin1(t, bothSessions()...)
	h.foreground(t)
	<-l.delayed
	l.emit(logindPath, logindManager+".UserRemoved", uint32(os.Geteuid())+1, dbus.ObjectPath("/x"))
	l.emit(logindPath, logindManager+".UserRemoved", uint32(os.Geteuid()), dbus.ObjectPath("/x"))
	await(t, "the daemon to leave", func() bool { return !answers(h.place) })
}

// Of a daemon with an audit session, its own session alone counts.
func TestOwnSessionByAudit(t *testing.T) {
	systemBus(t, t.TempDir())
	own := bothSessions()
	l := newLogin1(t, own...)
	locks, left := make(chan string, 10), make(chan string, 10)
	up := make(chan bool, 10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go watchLogind(ctx, watcher{session: "7", lock: func(why string) { locks <- why }, leave: func(why string) { left <- why },
		log: func(line string) { t.Log(line) }, watching: func(on bool) { up <- on }})
	<-up
	l.emit(otherSession, logindSession+".Lock")
	l.emit(logindPath, logindManager+".SessionRemoved", "2", otherSession)
	l.emit(ourSession, logindSession+".Lock")
	l.emit(logindPath, logindManager+".SessionRemoved", "1", ourSession)
	if why := <-left; why != "logout" || len(locks) != 1 {
		t.Errorf("left on %s after %d locks, want logout after 1", why, len(locks))
	}
}

// Without a bus, and with a bus but no logind, that is said, and all else works.
func TestNoLogind(t *testing.T) {
	for _, bus := range []string{"unix:path=/nonexistent", ""} {
		if bus != "" {
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus)
		} else {
			systemBus(t, t.TempDir())
		}
		lines := make(chan string, 1)
		watchLogind(context.Background(), watcher{log: func(line string) { lines <- line }, watching: func(bool) { t.Error("watching") }})
		if line := <-lines; !strings.Contains(line, "are not seen: no ") {
			t.Error(line)
		}
	}
}
