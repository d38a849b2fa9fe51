package daemon

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

const twoSecrets = "[secrets]\nA = \"\"\nB = \"\"\n"

// behaviour holds for every Agent.
type behaviour struct {
	name string
	kind string // of the rack's lock
	run  func(t *testing.T, r *rig)
}

var behaviours = []behaviour{
	{"gives what is asked for", "none", func(t *testing.T, r *rig) {
		r.worksite(twoSecrets)
		r.set("A", "1")
		r.set("B", "2")
		r.set("C", "3")
		g := r.grant()
		r.want(g, wire.OK, "A=1 B=2")
		if g.Mode != wire.ModeCommand || g.Summary != "acme/api: 2 secrets for 8h" || g.Generation != r.generation() {
			t.Errorf("mode %q, summary %q, generation %q", g.Mode, g.Summary, g.Generation)
		}
	}},
	{"values of every byte", "none", func(t *testing.T, r *rig) {
		value := make([]byte, 100<<10)
		for i := range value {
			value[i] = byte(i%255 + 1)
		}
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", string(value))
		if g := r.grant(); len(g.Vars) != 1 || !bytes.Equal(g.Vars[0].Value, value) {
			t.Error("the value changed on its way")
		}
		got, err := r.agent.Get(t.Context(), "acme/api", "A")
		if err != nil || !bytes.Equal(got, value) {
			t.Errorf("get: %d bytes, %v", len(got), err)
		}
	}},
	{"nothing without approval", "none", func(t *testing.T, r *rig) {
		r.write("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.want(r.grant(), wire.NotAllowed, "", "acme/api: not allowed", "keyrack allow")
		r.allow()
		r.want(r.grant(), wire.OK, "A=1")
		r.write("[secrets]\nA = \"\"\n# changed\n")
		r.want(r.grant(), wire.NotAllowed, "", "acme/api: not allowed", "keyrack allow")
		r.allow()
		r.want(r.grant(), wire.OK, "A=1")
		r.deny()
		if g := r.grant(); g.Status != wire.NotAllowed || len(g.Vars) != 0 {
			t.Errorf("denied: status %s, %d variables", g.Status, len(g.Vars))
		}
	}},
	{"a missing one hides no other", "none", func(t *testing.T, r *rig) {
		r.worksite(twoSecrets)
		r.set("B", "2")
		g := r.grant()
		r.want(g, wire.Missing, "B=2", "acme/api: A is missing", "keyrack set A")
		if g.Summary != "" {
			t.Errorf("summary %q", g.Summary)
		}
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1 B=2")
	}},
	{"optional, default and env", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = { required = false }\nB = { default = \"dflt\" }\nC = { env = \"SEE\" }\n")
		r.set("C", "3")
		r.want(r.grant(), wire.OK, "B=dflt SEE=3")
		r.set("B", "2")
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1 B=2 SEE=3")
	}},
	{"set and rm show at once", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1")
		before := r.generation()
		r.set("A", "2")
		r.want(r.grant(), wire.OK, "A=2")
		if r.generation() == before {
			t.Error("set left the generation")
		}
		if err := r.agent.Remove(t.Context(), "acme/api", "A"); err != nil {
			t.Fatal(err)
		}
		r.want(r.grant(), wire.Missing, "", "acme/api: A is missing", "keyrack set A")
		wantError(t, r.agent.Remove(t.Context(), "acme/api", "A"), wire.Missing, "A is missing")
		_, err := r.agent.Get(t.Context(), "acme/api", "A")
		wantError(t, err, wire.Missing, "A is missing")
	}},
	{"lists by site and name", "none", func(t *testing.T, r *rig) {
		r.set("B", "2")
		r.set("A", "1")
		if err := r.agent.Set(t.Context(), "other", "Z", []byte("3")); err != nil {
			t.Fatal(err)
		}
		for site, want := range map[string]int{"": 3, "acme/api": 2, "other": 1, "none": 0} {
			items, err := r.agent.List(t.Context(), site)
			if err != nil || len(items) != want {
				t.Errorf("%q: %v, %v", site, items, err)
			}
		}
		if items, _ := r.agent.List(t.Context(), ""); items[0] != (Item{"acme/api", "A"}) || items[2] != (Item{"other", "Z"}) {
			t.Errorf("order %v", items)
		}
	}},
	{"refuses what can't be a secret", "none", func(t *testing.T, r *rig) {
		err := r.agent.Set(t.Context(), "acme/api", "A", []byte("a\x00b"))
		wantError(t, err, wire.Invalid, "NUL")
		err = r.agent.Set(t.Context(), "acme/api", "A", make([]byte, 2<<20))
		wantError(t, err, wire.Invalid, "")
		wantError(t, r.agent.Set(t.Context(), "acme/api", "a b", []byte("x")), wire.Invalid, "")
		wantError(t, r.agent.Set(t.Context(), "", "A", []byte("x")), wire.Invalid, "")
	}},
	{"no rack", "", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\nB = { default = \"x\" }\n")
		r.want(r.grant(), wire.NoRack, "B=x", "acme/api: there is no rack yet", "keyrack rack create")
		wantError(t, r.agent.Set(t.Context(), "acme/api", "A", []byte("x")), wire.NoRack, "no rack")
	}},
	{"lock and unlock without a key", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\nB = { default = \"x\" }\n")
		r.set("A", "1")
		r.grant()
		before := r.generation()
		r.lock()
		if r.generation() == before {
			t.Error("lock left the generation")
		}
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		_, err := r.agent.Get(t.Context(), "acme/api", "A")
		wantError(t, err, wire.Locked, "locked")
		wantError(t, r.agent.Set(t.Context(), "acme/api", "A", []byte("x")), wire.Locked, "locked")
		if _, err := os.Stat(r.place.Locked); err != nil {
			t.Error(err)
		}
		before = r.generation()
		r.unlock(nil, 0)
		if r.generation() == before {
			t.Error("unlock left the generation")
		}
		r.want(r.grant(), wire.OK, "A=1 B=x")
	}},
	{"a passphrase rack needs its key", "passphrase", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		wantError(t, r.agent.Unlock(t.Context(), nil, 0), wire.Locked, "passphrase")
		if err := r.agent.Unlock(t.Context(), []byte("not a key"), 0); err == nil {
			t.Error("a wrong key unlocks")
		}
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		r.unlock(r.key, time.Hour)
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1")
		if s := r.status(r.root); s.Rack != "passphrase" || s.RackKeyLeft > 3600 || s.RackKeyLeft < 3540 {
			t.Errorf("rack %q, key for %d s", s.Rack, s.RackKeyLeft)
		}
		r.lock()
		r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
		if s := r.status(r.root); s.RackKeyLeft != 0 || !s.Locked || s.State != StateLocked {
			t.Errorf("status %+v", s)
		}
	}},
	{"a ttl over the user's limit", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = { ttl = \"2h\" }\n")
		r.set("A", "1")
		r.want(r.grant(), wire.OK, "A=1")
		r.config("max_ttl = \"1h\"\n")
		g := r.grant()
		r.want(g, wire.Invalid, "", r.root+"/.keyrack.toml:3:13: ttl of 2h is over max_ttl, 1h")
		wantError(t, r.agent.Unlock(t.Context(), nil, 2*time.Hour), wire.Invalid, "over max_ttl, 1h")
		wantError(t, r.agent.Unlock(t.Context(), nil, -time.Second), wire.Invalid, "longer than 0")
	}},
	{"the user's limit holds where the file says nothing", "none", func(t *testing.T, r *rig) {
		r.config("max_ttl = \"30m\"\n")
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		if g := r.grant(); g.Status != wire.OK || g.Summary != "acme/api: 1 secret for 30m" {
			t.Errorf("status %s, summary %q", g.Status, g.Summary)
		}
	}},
	{"config is read again", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\n")
		r.set("A", "1")
		r.config("quiet = true\n")
		if g := r.grant(); g.Status != wire.OK || g.Summary != "" {
			t.Errorf("status %s, summary %q", g.Status, g.Summary)
		}
		r.config("quiet = 7\n")
		r.want(r.grant(), wire.Invalid, "", r.options.ConfigFile+":1:1: quiet is true or false")
		r.config("")
		if g := r.grant(); g.Status != wire.OK || g.Summary == "" {
			t.Errorf("status %s, summary %q", g.Status, g.Summary)
		}
	}},
	{"what is not built is refused", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\n[profiles.dev.secrets]\nA = \"\"\n")
		r.set("A", "1")
		if g := r.grant(); g.Status != wire.Invalid || len(g.Vars) != 0 || !strings.HasPrefix(strings.Join(g.Lines, ""), r.root+"/.keyrack.toml:") {
			t.Errorf("status %s, %d variables, lines %q", g.Status, len(g.Vars), g.Lines)
		}
	}},
	{"a broken or absent file", "none", func(t *testing.T, r *rig) {
		r.write("[secrets\n")
		if g := r.grant(); g.Status != wire.Invalid || g.Mode != "" {
			t.Errorf("broken: status %s, mode %q", g.Status, g.Mode)
		}
		if err := os.Remove(r.root + "/.keyrack.toml"); err != nil {
			t.Fatal(err)
		}
		if g := r.grant(); g.Status != wire.Invalid || len(g.Lines) != 1 {
			t.Errorf("absent: status %s, lines %q", g.Status, g.Lines)
		}
	}},
	{"touch changes the generation", "none", func(t *testing.T, r *rig) {
		before := r.generation()
		if err := r.agent.Touch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.generation() == before {
			t.Error("touch left the generation")
		}
	}},
	{"status says how each secret stands", "none", func(t *testing.T, r *rig) {
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\nB = { ttl = \"90s\", env = \"BEE\" }\nC = { default = \"x\" }\nD = { required = false }\n")
		if s := r.status(""); s.State != "" || len(s.Secrets) != 0 || s.Rack != "none" {
			t.Errorf("outside: %+v", s)
		}
		r.set("A", "1")
		r.wantStates(StateMissing, "available missing default missing")
		r.set("B", "2")
		r.wantStates(StateOK, "available available default missing")
		r.grant()
		r.wantStates(StateOK, "held held default missing")
		b := r.status(r.root).Secrets[1]
		if b.Env != "BEE" || b.TTLSeconds != 90 || b.LeftSeconds != 90 || !b.Held || b.Source != "rack" {
			t.Errorf("%+v", b)
		}
		r.lock()
		r.wantStates(StateLocked, "locked locked locked locked")
		r.unlock(nil, 0)
		r.deny()
		if s := r.status(r.root); s.State != StateDenied || s.Hint != "keyrack allow" {
			t.Errorf("denied: %q, hint %q", s.State, s.Hint)
		}
		r.allow()
		r.write("[secrets]\nA = \"\"\nZ = \"\"\n")
		if s := r.status(r.root); s.State != StateNotAllowed || s.Site != "acme/api" {
			t.Errorf("changed: %q, site %q", s.State, s.Site)
		}
	}},
}

func (r *rig) status(root string) *Status {
	r.t.Helper()
	s, err := r.agent.Status(context.Background(), root)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) wantStates(state, secrets string) {
	r.t.Helper()
	s := r.status(r.root)
	var got []string
	for _, secret := range s.Secrets {
		got = append(got, secret.State)
	}
	if s.State != state || strings.Join(got, " ") != secrets {
		r.t.Fatalf("state %s, secrets %s; want %s, %s", s.State, got, state, secrets)
	}
}

func TestAgents(t *testing.T) {
	for _, b := range slices.Concat(behaviours, forBehaviours, variableBehaviours) {
		t.Run("cache/"+b.name, func(t *testing.T) { b.run(t, newRig(t, b.kind, nil)) })
		t.Run("client/"+b.name, func(t *testing.T) {
			r := newRig(t, b.kind, nil)
			r.cache.Close()
			r.opensBy(r.byChildren())
			r.open()
			r.overSocket()
			b.run(t, r)
		})
	}
}
