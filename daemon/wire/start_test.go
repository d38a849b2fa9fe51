package wire

import (
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startPlace makes the place that a daemon spawned from here finds, and tells the
// stand-in how to start.
func startPlace(t *testing.T, how string) (Place, string) {
	t.Helper()
	base := testPlace(t)
	t.Setenv("XDG_RUNTIME_DIR", strings.TrimSuffix(base.Dir, "/keyrack"))
	p, err := FindPlace()
	if err != nil {
		t.Fatal(err)
	}
	if p.Dir != base.Dir {
		t.Fatalf("found %s, not %s", p.Dir, base.Dir)
	}
	if err := os.WriteFile(p.Dir+"/how", []byte(how), 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p, exe
}

func TestStartFails(t *testing.T) {
	for how, text := range map[string]string{
		"die": "died while it started", "refuse": "can't start: the disk is full", "hang": "takes too long", "other": "but does not listen",
	} {
		t.Run(how, func(t *testing.T) {
			p, exe := startPlace(t, how)
			began := time.Now()
			wantError(t, Start(p, exe, time.Second), Unavailable, text)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestStartNeedsAProgram(t *testing.T) {
	p := testPlace(t)
	wantError(t, Start(p, "keyrack", time.Second), Unavailable, "absolute path")
	wantError(t, Start(p, p.Dir+"/none", time.Second), Unavailable, "no such file")
	_, err := CallOrStart(p, "", time.Second, nil, []byte(VerbPing))
	wantError(t, err, Unavailable, "no daemon is running")
}

// The daemon gets nothing of this process but what it needs, and this process
// keeps what it had for the program that may take its place.
func TestStartIsClean(t *testing.T) {
	p, exe := startPlace(t, "report")
	t.Setenv("AWS_SECRET_ACCESS_KEY", marker)
	t.Setenv("GOTRACEBACK", "crash")
	t.Setenv("LC_ALL", "C")
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0) // inheritable, as a script's lock would be
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	wantError(t, Start(p, exe, 5*time.Second), Unavailable, "reported")
	text, err := os.ReadFile(p.Dir + "/report")
	if err != nil {
		t.Fatal(err)
	}
	report := string(text)
	for _, want := range []string{"args daemon run\n", "cwd /\n", "session leader true\n", "LC_ALL=C", "XDG_RUNTIME_DIR=", ReadyVariable + "=3"} {
		if !strings.Contains(report, want) {
			t.Errorf("the daemon's process lacks %q", want)
		}
	}
	for _, leak := range []string{marker, "GOTRACEBACK"} {
		if strings.Contains(report, leak) {
			t.Errorf("the daemon's process has %q", leak)
		}
	}
	nulls := 0
	for entry := range strings.FieldsSeq(report) {
		if _, target, _ := strings.Cut(entry, "="); target == "/dev/null" {
			nulls++
		}
	}
	if nulls != 3 {
		t.Errorf("the daemon has the null device %d times, want as its 3 standard files alone", nulls)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Error("this process lost an inheritable descriptor")
	}
}

func TestCleanEnvironment(t *testing.T) {
	got := CleanEnvironment([]string{"HOME=/h", "PATH=/bin", "HOMER=x", "XDG_DATA_HOME=/d", "LD_PRELOAD=x", "LC_ALL=C", "KEYRACK_X=1", "GODEBUG=x", "LANG=C"})
	if !slices.Equal(got, []string{"HOME=/h", "PATH=/bin", "XDG_DATA_HOME=/d", "LC_ALL=C", "LANG=C"}) {
		t.Errorf("kept %q", got)
	}
}

func TestFindPlace(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7/")
	p, err := FindPlace()
	if err != nil || p.Dir != "/run/user/7/keyrack" || !strings.HasPrefix(p.Socket, p.Dir+"/") {
		t.Errorf("%+v, %v", p, err)
	}
	for _, unusable := range []string{"", "relative"} {
		t.Setenv("XDG_RUNTIME_DIR", unusable)
		t.Setenv("TMPDIR", "/tmp/x/")
		p, err := FindPlace()
		if err != nil || !strings.HasPrefix(p.Dir, "/tmp/x/keyrack-") {
			t.Errorf("with %q: %+v, %v", unusable, p, err)
		}
	}
	t.Setenv("TMPDIR", "relative")
	_, err = FindPlace()
	wantError(t, err, Unavailable, "XDG_RUNTIME_DIR")
}

func TestPlaceOfASession(t *testing.T) {
	p := PlaceIn("/d", "7")
	if p.Socket != "/d/session-7.sock" || p.Generation != "/d/session-7.generation" || p.Lock != "/d/session-7.lock" || p.Locked != "/d/session-7.locked" || p.Scope != "login session 7" {
		t.Errorf("%+v", p)
	}
	t.Setenv("USER", "jo")
	if p := PlaceIn("/d", ""); p.Scope != "user jo, no login session id (container, WSL, macOS)" || p.Lock != "/d/daemon.lock" {
		t.Errorf("%+v", p)
	}
}

// A place for all sessions is found as long as it has a socket, and a client that
// found it starts a daemon for it, whatever has become of the socket meanwhile.
func TestSharedPlace(t *testing.T) {
	p, exe := startPlace(t, "report")
	shared, err := SharedPlace()
	if err != nil || shared.Dir != p.Dir || !shared.Shared || shared.Session != "" || !strings.HasSuffix(shared.Scope, ", all login sessions") {
		t.Fatalf("%+v, %v", shared, err)
	}
	for _, session := range []string{"", "7"} {
		if own := PlaceIn(p.Dir, session); shared.Socket == own.Socket || shared.Generation == own.Generation || shared.Lock == own.Lock || shared.Locked == own.Locked {
			t.Errorf("%+v shares a file with %+v", shared, own)
		}
	}
	if found, err := FindPlace(); err != nil || found.Shared {
		t.Errorf("without a socket: %+v, %v", found, err)
	}
	if err := os.WriteFile(shared.Socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := FindPlace(); err != nil || found != shared {
		t.Errorf("with a socket: %+v, %v", found, err)
	}
	if err := os.Remove(shared.Socket); err != nil {
		t.Fatal(err)
	}
	wantError(t, Start(shared, exe, 5*time.Second), Unavailable, "reported")
	text, err := os.ReadFile(p.Dir + "/report")
	if err != nil || !strings.HasPrefix(string(text), "args daemon run --shared\n") {
		t.Errorf("%v, %.40q", err, text)
	}
}

// One daemon after the other may leave while a client asks: as long as each closes
// without an answer, the client goes on to the next.
func TestCallOrStartOutlivesDaemons(t *testing.T) {
	p, exe := startPlace(t, "other")
	var leaving atomic.Int32
	leaving.Store(6)
	serve(t, p, func(c net.Conn) {
		if leaving.Add(-1) < 0 {
			echo(c)
		}
	})
	answer, err := CallOrStart(p, exe, 10*time.Second, nil, []byte(VerbSet), []byte("a"))
	if err != nil || string(answer[0]) != OK {
		t.Errorf("%q, %v", answer, err)
	}
}

// A daemon that no client gets an answer from is not asked for ever.
func TestCallOrStartGivesUp(t *testing.T) {
	p, exe := startPlace(t, "other")
	var calls atomic.Int32
	serve(t, p, func(net.Conn) { calls.Add(1) })
	_, err := CallOrStart(p, exe, time.Minute, nil, []byte(VerbPing))
	wantError(t, err, Unavailable, "went away without an answer")
	if n := calls.Load(); n > 50 {
		t.Errorf("it was asked %d times", n)
	}
}

// Who finds another client starting a daemon waits for that, and looks only now and
// then: the daemon needs the processor.
func TestWaitForStartingClient(t *testing.T) {
	p, exe := startPlace(t, "die")
	release, err := p.tryStarting()
	if err != nil || release == nil {
		t.Fatal(err)
	}
	defer release()
	c := newClock(time.Second, nil)
	looks := 0
	for {
		tried, err := renew(p, exe, c)
		if err != nil {
			wantError(t, err, Unavailable, "takes too long to start")
			break
		}
		if tried {
			t.Fatal("two clients start a daemon at once")
		}
		looks++
	}
	if looks > 40 {
		t.Errorf("it looked %d times within a second", looks)
	}
}
