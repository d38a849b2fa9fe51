package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

const marker = "MARKER-8d21c7"

// logged is what the server has logged so far.
func (r *rig) logged() string {
	r.logging.Lock()
	defer r.logging.Unlock()
	return r.log.String()
}

func TestMalformedRequestsAreNeverEchoed(t *testing.T) {
	r := newRig(t, "none", nil)
	r.overSocket()
	frame := func(fields ...string) string {
		text := strings.Join(fields, "\x00") + "\x00"
		return fmt.Sprintf("%d\n%s", len(text), text)
	}
	for name, text := range map[string]string{
		"not a frame":      marker,
		"text":             "GET / HTTP/1.1\r\n" + marker + "\r\n",
		"4 GiB":            "4294967296\n" + marker,
		"cut":              "100\n1\x00" + marker,
		"no NUL":           fmt.Sprintf("%d\n%s", len(marker), marker),
		"trailing":         frame("1", "ping") + marker,
		"unknown verb":     frame("1", marker),
		"too many fields":  frame("1", "lock", marker),
		"too few":          frame("1", "set", "acme/api", marker),
		"bad name":         frame("1", "set", "acme/api", "a b", marker),
		"bad number":       frame("1", "unlock", "", marker),
		"other version":    frame(marker, "hook", "/", ""),
		"version alone":    frame(marker),
		"key not needed":   frame("1", "unlock", marker, "1"),
		"no such root":     frame("1", "hook", "/none", marker),
		"value too strong": frame("1", "set", marker+"!", "A", marker),
	} {
		t.Run(name, func(t *testing.T) {
			if got := exchange(t, r.place, text); strings.Contains(got, marker) {
				t.Errorf("the answer of %d bytes has the marker", len(got))
			}
		})
	}
	if strings.Contains(r.logged(), marker) {
		t.Error("the log has the marker")
	}
}

func TestPanicPrintsNoValue(t *testing.T) {
	r := newRig(t, "none", nil)
	r.overSocket()
	r.meets(func(context.Context) error { panic(marker) })
	_, err := r.agent.Get(t.Context(), "acme/api", "A")
	wantError(t, err, wire.Failed, "the daemon failed")
	if got := r.logged(); !strings.Contains(got, "a request failed at keyrack/daemon.") || strings.Contains(got, marker) {
		t.Errorf("the log: %d bytes", len(got))
	}
	if _, err := r.agent.Status(t.Context(), ""); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Sixty-four clients at once, each with a value of its own: nothing is lost or
// mixed up.
func TestManyClientsAtOnce(t *testing.T) {
	r := newRig(t, "none", nil)
	r.overSocket()
	for i := range 64 {
		r.set(fmt.Sprintf("S%d", i), fmt.Sprintf("value %d", i))
	}
	var clients sync.WaitGroup
	for i := range 64 {
		clients.Go(func() {
			for range 5 {
				got, err := r.agent.Get(context.Background(), "acme/api", fmt.Sprintf("S%d", i))
				if err != nil || string(got) != fmt.Sprintf("value %d", i) {
					t.Errorf("client %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
	clients.Wait()
}

// A client may give up on a slow source; the daemon answers others meanwhile, and
// the next who asks has what the first one started.
func TestSlowSourceHoldsUpNobody(t *testing.T) {
	gate := make(chan struct{})
	r := newRig(t, "none", nil)
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.meets(func(context.Context) error { <-gate; return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.agent.Grant(ctx, Query{Root: r.root})
	wantError(t, err, wire.Unavailable, "")
	for range 10 {
		r.status("")
	}
	close(gate)
	r.want(r.grant(), wire.OK, "A=1")
}

func TestTooManyRequestsAtOnce(t *testing.T) {
	r := newRig(t, "none", nil)
	s := newServer(r.options, r.cache, func() {})
	for range maxWorking {
		if _, err := s.begin(&connection{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.begin(&connection{})
	wantError(t, err, wire.Failed, "too many")
}

// Each login session has a daemon of its own. Here no process has one, so a
// daemon of session 7 refuses all of them.
func TestAnotherSessionIsRefused(t *testing.T) {
	r := newRig(t, "none", func(o *Options) { o.Place = wire.PlaceIn(o.Place.Dir, wire.SessionID()+"7") })
	r.place = r.options.Place
	listener, unlink, err := listen(r.place)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { newServer(r.options, r.cache, cancel).run(ctx, listener) })
	defer unlink()
	defer running.Wait()
	defer cancel()
	answer, err := wire.Call(r.place, 5*time.Second, nil, []byte(wire.VerbPing))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, wire.Failure(answer), wire.Unavailable, "another login session")
}
