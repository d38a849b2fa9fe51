package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// notSealed is how status tells that something is not, and why.
func (tg *target) notSealed(t *testing.T) (why string) {
	t.Helper()
	for _, line := range tg.status(t).Daemon.Weak {
		if rest, found := strings.CutPrefix(line, sealedProperty); found {
			return rest
		}
	}
	return ""
}

// Where the kernel forbids keys the daemon says so and serves, and with strict it
// does not start.
func TestNoKeysAreSaid(t *testing.T) {
	tg := newTarget(t)
	cmd := tg.without(noKeys, "daemon", "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the daemon to listen", func() bool { return answers(tg.place) })
	tg.fill(t)
	if why := tg.notSealed(t); why != "keyctl: operation not permitted" {
		t.Errorf("status says %q", why)
	}
	tg.do(t, "", "daemon", "stop")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	tg.strict(t)
	out, err := tg.without(noKeys, "daemon", "run").CombinedOutput()
	if err == nil || strings.Count(string(out), refusedByStrict+sealedProperty+"keyctl: operation not permitted") != 1 {
		t.Errorf("strict: %v: %s", err, out)
	}
}

// With the user's keys used up a value is held as it is, and status tells it for as
// long; with strict it is not held, and as soon as there is a key again it is.
func TestKeysUsedUp(t *testing.T) {
	tg := newTarget(t)
	tg.do(t, "", "status") // starts a daemon, which has its keyring and no key
	hog := tg.talk(t, "hog")
	if line := hog.line(t); line != "full" {
		t.Fatal(line)
	}
	// The kernel frees keys a while after they were given up, also other tests', and
	// whoever asks first has them.
	await(t, "status to say that no key is left", func() bool {
		tg.do(t, "", "lock")
		tg.do(t, "", "unlock")
		tg.fill(t)
		return tg.notSealed(t) == "add_key: disk quota exceeded"
	})
	tg.do(t, "", "lock")
	tg.do(t, "", "unlock")
	if why := tg.notSealed(t); why != "" {
		t.Errorf("with nothing held status says %q", why)
	}
	tg.strict(t)
	refused := refusedByStrict + sealedProperty + "add_key: disk quota exceeded"
	await(t, "strict to refuse", func() bool {
		tg.do(t, "", "lock")
		tg.do(t, "", "unlock")
		out, err := tg.call("exec", "--", "true").CombinedOutput()
		return err != nil && strings.Contains(string(out), refused)
	})
	hog.in.Close()
	hog.cmd.Wait()
	await(t, "keys to be there again", func() bool { return tg.call("exec", "--", "true").Run() == nil })
	if why := tg.notSealed(t); why != "" {
		t.Errorf("afterwards status says %q", why)
	}
}

// hog takes all keys that its user may have, and those that become free, until its
// input ends.
func hog([]string) error {
	runtime.LockOSThread()
	ring, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	said := false
	for n := 0; ; {
		switch _, err := unix.AddKey("user", strconv.Itoa(n), []byte("x"), ring); {
		case err == nil:
			n++
			continue
		case err != unix.EDQUOT:
			return err
		case !said:
			said = true
			fmt.Println("full")
		}
		select {
		case <-ended:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A daemon that stood still past the end of what it holds, with requests in its
// queue, gives none of it when it goes on.
func TestStoppedPastTheTTL(t *testing.T) {
	const rounds, clients, ttl = 15, 8, time.Second
	r := newRig(t, "none", nil)
	r.cache.Close()
	r.agent = r.connect(t)
	pid := r.pid(t)
	r.worksite("ttl = \"" + ttl.String() + "\"\n[secrets]\nA = \"\"\n")
	options := r.options
	options.Place = wire.PlaceIn(r.dir+"/other", "")
	other, err := NewCache(options) // another session's, with the same rack
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for round := range rounds {
		was, is := fmt.Sprintf("was-%d", round), fmt.Sprintf("is-%d", round)
		r.set("A", was)
		r.want(r.grant(), wire.OK, "A="+was)
		ends := time.Now().Add(ttl)
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		await(t, "the daemon to stand still", func() bool { return processState(t, pid) == "T" })
		queue := make([]net.Conn, clients)
		for i := range queue {
			queue[i] = queued(t, r)
		}
		err := other.Set(t.Context(), "acme/api", "A", []byte(is))
		await(t, "the value to end", func() bool { return time.Now().After(ends) })
		if err := errors.Join(err, unix.Kill(pid, unix.SIGCONT)); err != nil {
			t.Fatal(err)
		}
		for _, conn := range queue {
			fields, err := wire.ReadFrame(conn, wire.MaxAnswer)
			if err != nil {
				t.Fatal(err)
			}
			grant, err := wire.ParseGrant(fields[1:])
			if err != nil {
				t.Fatal(err)
			}
			r.want(grant, wire.OK, "A="+is)
		}
	}
}

// queued is a client that has asked for the grant and waits.
func queued(t *testing.T, r *rig) net.Conn {
	t.Helper()
	frame, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbGrant), []byte(r.root))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", r.place.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	return conn
}
