package hook

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"keyrack/daemon/wire"
	"keyrack/shells"
)

func TestChangeKeepsTheAnswer(t *testing.T) {
	g := &wire.Grant{Status: wire.Missing, Generation: "g7", Mode: wire.ModeTree, Summary: "acme/api: 1 secret",
		Lines: []string{"acme/api: B is missing: keyrack set B"}, Vars: []wire.Var{{Name: "A", Value: []byte("one\ntwo")}}}
	c := Change(g, nil)
	if c.Status != g.Status || c.Generation != g.Generation || c.Mode != g.Mode || c.Summary != g.Summary || !slices.Equal(c.Say, g.Lines) {
		t.Errorf("Change lost part of the answer: status %q generation %q mode %q summary %q say %q", c.Status, c.Generation, c.Mode, c.Summary, c.Say)
	}
	if len(c.Put) != 1 || c.Put[0].Name != "A" || string(c.Put[0].Value) != "one\ntwo" {
		t.Errorf("Change puts %d variables, want A alone with its bytes", len(c.Put))
	}
}

func TestChangeRefusesNames(t *testing.T) {
	for _, name := range []string{"", "a[$(id)]", "1A", "A B", "A=B", "PATH", "LD_PRELOAD", "KEYRACK_EXPORTED", "PS1", "IFS", "é"} {
		g := &wire.Grant{Status: wire.OK, Vars: []wire.Var{{Name: name, Value: []byte("hunter2")}, {Name: "GOOD", Value: []byte("x")}}}
		c := Change(g, nil)
		if len(c.Put) != 1 || c.Put[0].Name != "GOOD" {
			t.Errorf("name %q: %d variables are put, want GOOD alone", name, len(c.Put))
		}
		if len(c.Say) != 1 || strings.Contains(c.Say[0], "hunter2") {
			t.Errorf("name %q: %d lines are said, want one, without the value", name, len(c.Say))
		}
	}
}

func TestChangeOfAnError(t *testing.T) {
	for _, test := range []struct {
		err         error
		status, say string
	}{
		{&wire.Error{Status: wire.Locked, Message: "acme/api: locked", Hint: "keyrack unlock"}, wire.Locked, "acme/api: locked: keyrack unlock"},
		{&wire.Error{Status: wire.BadVersion, Message: "this shell has an older hook"}, wire.BadVersion, "this shell has an older hook"},
		{errors.New("no place"), wire.Unavailable, "no place"},
	} {
		c := Change(nil, test.err)
		if c.Status != test.status || !slices.Equal(c.Say, []string{test.say}) || len(c.Put) != 0 {
			t.Errorf("%v: status %q, says %q, puts %d", test.err, c.Status, c.Say, len(c.Put))
		}
	}
}

func TestEnviron(t *testing.T) {
	environ := []string{"HOME=/h", "KEYRACK_EXPORTED=1 OLD A", "OLD=stale", "A=mine", "A=twice", "B=mine", "=odd", "PLAIN"}
	before := slices.Clone(environ)
	got := Environ(environ, []shells.Var{{Name: "B", Value: []byte("x=y\n")}, {Name: "C", Value: nil}})
	if want := []string{"HOME=/h", "=odd", "PLAIN", "B=x=y\n", "C="}; !slices.Equal(got, want) {
		t.Errorf("Environ gives %q, want %q", got, want)
	}
	if !slices.Equal(environ, before) {
		t.Error("Environ changed the environment that it was given")
	}
}
