package daemon

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"keyrack/daemon/wire"
)

// login is a shell in a login session of its own, numbered by the kernel, that runs
// one line of script after the other.
type login struct {
	*talker
	number string
	place  wire.Place
}

// loggedIn begins a session; ok is false where this kernel, or who runs the tests,
// can't: then no test can have two.
func (tg *target) loggedIn(t *testing.T) (in *login, ok bool) {
	t.Helper()
	if out, err := tg.command("session", "true").CombinedOutput(); err != nil {
		t.Logf("no login sessions can be made here, so none are tried: %s", out)
		return nil, false
	}
	k := tg.talk(t, "session", "sh", "-c", `cat /proc/self/sessionid; echo; while read -r line; do eval "$line" 2>&1; echo "rc=$?"; done`)
	in = &login{talker: k, number: k.line(t)}
	in.place = wire.PlaceIn(tg.place.Dir, in.number)
	t.Cleanup(func() { in.run(t, tg.keyrack.exe+" daemon stop") })
	return in, true
}

// run runs a line of script in the session and returns what it says, and its exit
// code as the last line.
func (in *login) run(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintln(in.in, line); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for {
		got := in.line(t)
		out.WriteString(got + "\n")
		if strings.HasPrefix(got, "rc=") {
			return out.String()
		}
	}
}

// status is what the daemon of the session says of itself.
func (in *login) status(t *testing.T, tg *target) (s Status) {
	t.Helper()
	out := in.run(t, "cd "+tg.root+" && "+tg.keyrack.exe+" status --json")
	text, rc, _ := strings.Cut(out, "\nrc=")
	if err := json.Unmarshal([]byte(text), &s); err != nil || rc != "0\n" {
		t.Fatalf("%v in %q", err, out)
	}
	return s
}

// Each login session has a daemon of its own, with a lock of its own, and refuses
// who comes from another session, or from none.
func TestEachSessionHasItsOwnDaemon(t *testing.T) {
	tg := newTarget(t)
	one, ok := tg.loggedIn(t)
	if !ok {
		return
	}
	two, _ := tg.loggedIn(t)
	first, second := one.status(t, tg), two.status(t, tg)
	if first.Daemon.PID == second.Daemon.PID || one.number == two.number {
		t.Fatalf("sessions %s and %s have daemon %d", one.number, two.number, first.Daemon.PID)
	}
	for in, s := range map[*login]Status{one: first, two: second} {
		if s.Daemon.Scope != "login session "+in.number {
			t.Errorf("session %s has scope %q", in.number, s.Daemon.Scope)
		}
	}
	// The words come from the daemon of session one; who asks lives in two, or in none.
	const refusal = "this daemon serves another login session: refused"
	ask := tg.exe + " ask " + one.place.Socket
	if out := one.run(t, ask); !strings.Contains(out, `"ok"`) {
		t.Errorf("from its own session: %s", out)
	}
	if out := two.run(t, ask); !strings.Contains(out, refusal) || strings.Contains(out, `"ok"`) {
		t.Errorf("from another session: %s", out)
	}
	if out := tg.run(t, "ask", one.place.Socket); !strings.Contains(out, refusal) || strings.Contains(out, `"ok"`) {
		t.Errorf("from no session: %s", out)
	}
	// The other way round: a daemon without a session, asked from one.
	tg.fill(t)
	if out := two.run(t, tg.exe+" ask "+tg.place.Socket); !strings.Contains(out, refusal) || strings.Contains(out, `"ok"`) {
		t.Errorf("from a session to a daemon without: %s", out)
	}
	one.run(t, tg.keyrack.exe+" lock")
	if !one.status(t, tg).Locked || two.status(t, tg).Locked {
		t.Error("a lock reaches another session than its own")
	}
}

// Who wants one daemon for all sessions runs it so, and all find it, also when it
// was killed and a client starts it again.
func TestSharedDaemonServesAllSessions(t *testing.T) {
	tg := newTarget(t)
	one, ok := tg.loggedIn(t)
	if !ok {
		return
	}
	two, _ := tg.loggedIn(t)
	shared := tg.call("daemon", "run", "--shared")
	if err := shared.Start(); err != nil {
		t.Fatal(err)
	}
	place := wire.PlaceIn(tg.place.Dir, "")
	place.Socket, place.Shared = filepath.Join(tg.place.Dir, "user.sock"), true
	await(t, "the shared daemon to listen", func() bool { return answers(place) })
	for _, in := range []*login{one, two} {
		if s := in.status(t, tg); s.Daemon.PID != shared.Process.Pid || !strings.HasSuffix(s.Daemon.Scope, ", all login sessions") {
			t.Errorf("session %s: daemon %d, %s", in.number, s.Daemon.PID, s.Daemon.Scope)
		}
	}
	shared.Process.Kill()
	shared.Wait()
	again := one.status(t, tg)
	if s := two.status(t, tg); s.Daemon.PID != again.Daemon.PID || again.Daemon.PID == shared.Process.Pid || !strings.HasSuffix(s.Daemon.Scope, ", all login sessions") {
		t.Errorf("after its end: daemons %d and %d, %s", again.Daemon.PID, s.Daemon.PID, s.Daemon.Scope)
	}
	one.run(t, tg.keyrack.exe+" daemon stop")
	await(t, "the shared daemon to leave", func() bool { return !answers(place) })
	if s := one.status(t, tg); s.Daemon.Scope != "login session "+one.number {
		t.Errorf("without a shared daemon: %s", s.Daemon.Scope)
	}
}
