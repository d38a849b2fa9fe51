package daemon

import (
	"slices"
	"strings"
	"testing"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// forBehaviours are those of secrets with a "for".
var forBehaviours = []behaviour{
	{"gives what is for some commands to who wants it alone", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = ''\nB = { for = ['make deploy', 'tf'] }\nC = { for = [] }\nD = { for = ['tf', '-x', 'a;b', './d', 'é'] }\nE = { as = 'file' }\n")
		for _, name := range []string{"A", "B", "C", "D", "E"} {
			r.set(name, strings.ToLower(name))
		}
		r.want(r.grant(), wire.OK, "A=a")
		g := r.hooked()
		r.want(g, wire.OK, "A=a")
		if g.Commands != "make tf" || g.Summary != "acme/api: 1 secret for 8h, others for make, tf" {
			t.Errorf("commands %q, summary %q", g.Commands, g.Summary)
		}
		g, err := r.agent.Grant(t.Context(), Query{Root: r.root, Want: []string{"C", "B", "A", "X", "E"}})
		if err != nil {
			t.Fatal(err)
		}
		r.want(g, wire.OK, "A=a B=b C=c E=e")
		if g.Commands != "" {
			t.Errorf("commands %q", g.Commands)
		}
		status, err := r.agent.Status(t.Context(), r.root)
		if err != nil {
			t.Fatal(err)
		}
		if s := status.Secrets; s[0].For != nil || !slices.Equal(s[1].For, []string{"make deploy", "tf"}) || s[2].For == nil || len(s[2].For) != 0 {
			t.Errorf("%+v", s)
		}
	}},
	{"misses what is for some commands where it is wanted alone", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = ''\nB = { for = ['tf'] }\n")
		r.set("A", "a")
		r.want(r.grant(), wire.OK, "A=a")
		g, err := r.agent.Grant(t.Context(), Query{Root: r.root, Want: []string{"B"}})
		if err != nil {
			t.Fatal(err)
		}
		r.want(g, wire.Missing, "A=a", "acme/api: B is missing", "keyrack set B")
	}},
	{"asks for a yes about what is wanted alone", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = ''\nB = { for = ['tf'], confirm = 'always' }\nC = { confirm = 'session' }\n")
		for _, name := range []string{"A", "B", "C"} {
			r.set(name, strings.ToLower(name))
		}
		r.want(r.answer(r.question("C"), true), wire.OK, "A=a C=c")
		q, err := r.agent.Question(t.Context(), Query{Root: r.root, Want: []string{"B"}})
		if err != nil || strings.Join(q.Names(), " ") != "B" {
			t.Fatalf("%v, %v", q, err)
		}
		r.want(r.answer(q, true), wire.OK, "A=a B=b C=c")
		r.want(r.grant(), wire.OK, "A=a C=c")
	}},
	{"gives what is wanted and nothing else, by one state of the file", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = ''\nB = { for = [] }\nC = ''\nD = { confirm = 'session' }\n")
		for _, name := range []string{"A", "B", "D"} {
			r.set(name, strings.ToLower(name))
		}
		site, err := worksite.Read(r.root)
		if err != nil {
			t.Fatal(err)
		}
		only := func(digest worksite.Digest, names ...string) *wire.Grant {
			g, err := r.agent.Grant(t.Context(), Query{Root: r.root, Want: names, Only: digest})
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		r.want(only(site.Digest, "B"), wire.OK, "B=b")
		r.want(only(site.Digest, "A", "B"), wire.OK, "A=a B=b")
		r.want(only(site.Digest, "C"), wire.Missing, "", "acme/api: C is missing", "keyrack set C")
		r.want(only(worksite.Digest{1}, "B"), wire.NotAllowed, "", "acme/api: .keyrack.toml changed in this moment: try again")

		r.want(only(site.Digest, "D"), wire.Unconfirmed, "", "acme/api: D waits for your yes")
		q, err := r.agent.Question(t.Context(), Query{Root: r.root, Want: []string{"B", "D"}, Only: site.Digest})
		if err != nil || strings.Join(q.Names(), " ") != "D" {
			t.Fatalf("%v, %v", q, err)
		}
		r.want(r.answer(q, true), wire.OK, "B=b D=d")
		if q, err = r.agent.Question(t.Context(), Query{Root: r.root, Want: []string{"D"}, Only: worksite.Digest{1}}); err == nil {
			t.Errorf("a question by another state of the file: %v", q)
		}
	}},
	{"gives a helper the default itself, not a file that holds it", "none", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = { as = 'tmpfile', default = 'plain' }\nB = { as = 'tmpfile' }\n")
		r.set("B", "b")
		site, err := worksite.Read(r.root)
		if err != nil {
			t.Fatal(err)
		}
		g, err := r.agent.Grant(t.Context(), Query{Root: r.root, Want: []string{"A", "B"}, Only: site.Digest})
		if err != nil {
			t.Fatal(err)
		}
		r.want(g, wire.OK, "A=plain B=b")
	}},
}
