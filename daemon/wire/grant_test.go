package wire

import (
	"reflect"
	"strings"
	"testing"
)

func TestGrantRoundTrip(t *testing.T) {
	for _, g := range []*Grant{
		{Status: OK, Generation: "g", Mode: ModeCommand, Summary: "acme/api: 1 secret for 8h", Commands: "make tf", Vars: []Var{{"A", []byte("x")}, {"B", []byte{}}}},
		{Status: Missing, Generation: "g", Mode: ModeTree, Lines: []string{"B is missing", "keyrack set B"}, Vars: []Var{{"A", []byte("x")}}},
		{Status: NotAllowed, Lines: []string{"not allowed"}},
	} {
		got, err := ParseGrant(g.Fields())
		if err != nil || !reflect.DeepEqual(got, g) {
			t.Errorf("%s: does not round trip: %v", g.Status, err)
		}
	}
}

func TestParseGrantShortForm(t *testing.T) {
	g, err := ParseGrant((&Error{Status: Unavailable, Message: "no", Hint: "do"}).Fields())
	if err != nil || g.Status != Unavailable || strings.Join(g.Lines, "|") != "no|do" {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestParseGrantRefuses(t *testing.T) {
	for _, text := range []string{
		"", "ok", "ok|g|command|", "ok|g|command||0", "ok|g|command|||x", "ok|g|command|||1", "ok|g|command|||-1", "ok|g|command|||0|A",
		"ok|g|other|||0", "|g|command|||0", "ok|g|command|||00", "ok|g|command|||+1|line", "ok|g|command|||0||v", "ok|g|command|||99999999999999999999",
	} {
		if g, err := ParseGrant(cut(text)); err == nil {
			t.Errorf("%q is %+v", text, g)
		}
	}
}

func cut(text string) [][]byte {
	var fields [][]byte
	for f := range strings.SplitSeq(text, "|") {
		fields = append(fields, []byte(f))
	}
	return fields
}

func FuzzParseGrant(f *testing.F) {
	for _, seed := range []string{"ok|g|command|s|tf make|1|line|A|v", "ok|g|tree|||0", "locked|why|hint", "ok|||||0|A|", "missing|g|command|||2|a|b|C|d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseGrant(cut(text))
		if err != nil {
			return
		}
		again, err := ParseGrant(g.Fields())
		if err != nil {
			t.Fatalf("what was parsed does not parse again: %v", err)
		}
		if len(again.Vars) != len(g.Vars) || len(again.Lines) != len(g.Lines) || again.Status != g.Status {
			t.Fatal("a grant does not round trip")
		}
	})
}
