package daemon

import (
	"strings"
	"testing"

	"keyrack/daemon/wire"
)

// variableBehaviours are those of what is in the environment of who asks.
var variableBehaviours = []behaviour{
	{"names the variables that who asks has, and no others", "none", func(t *testing.T, r *rig) {
		t.Setenv("CI_A", "a of this process")
		t.Setenv("CI_B", "b of this process")
		r.worksite("[secrets]\nA = 'env:CI_A'\nB = { from = 'env:CI_B', required = false }\nC = { from = ['', 'env:CI_A'] }\nD = { from = ['env:CI_A', ''] }\n")
		r.set("C", "c")
		r.set("D", "d")
		const missing = "acme/api: A is missing: env:CI_A: keyrack exec and helpers look for it in their own environment"
		ask := func(status, vars string, lines []string, has ...string) {
			t.Helper()
			g, err := r.agent.Grant(t.Context(), Query{Root: r.root, Has: has})
			if err != nil {
				t.Fatal(err)
			}
			r.want(g, status, vars, lines...)
		}
		ask(wire.OK, "A=a of this process C=c D=a of this process", nil, "CI_A", "HOME")
		ask(wire.Missing, "C=c D=d", []string{missing})
		ask(wire.OK, "A=a of this process B=b of this process C=c D=a of this process", nil, "CI_B", "CI_A")
		ask(wire.Missing, "B=b of this process C=c D=d", []string{missing}, "CI_B", "CI_")
		r.want(r.hooked(), wire.Missing, "C=c D=d", missing)
	}},
	{"asks for a yes about a variable of who asks", "none", func(t *testing.T, r *rig) {
		t.Setenv("CI_A", "a of this process")
		r.worksite("[secrets]\nA = { from = 'env:CI_A', confirm = 'always' }\n")
		query := Query{Root: r.root, Has: []string{"CI_A"}}
		g, err := r.agent.Grant(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		r.want(g, wire.Unconfirmed, "", "acme/api: A waits for your yes")
		q, err := r.agent.Question(t.Context(), query)
		if err != nil || strings.Join(q.Names(), " ") != "A" {
			t.Fatalf("%+v, %v", q, err)
		}
		r.want(r.answer(q, true), wire.OK, "A=a of this process")
	}},
}

// No value of a variable of who asks is in the answer: its name is.
func TestVariableIsNamed(t *testing.T) {
	t.Setenv("CI_A", "hunter2")
	r := newRig(t, "none", nil)
	r.worksite("[secrets]\nA = { from = 'env:CI_A', env = 'X' }\n")
	f, _ := r.cache.prepare(t.Context(), Query{Root: r.root, Has: []string{"CI_A"}})
	defer r.cache.free(f)
	r.wantFrame(f, wire.OK, "env:X=CI_A")
}
