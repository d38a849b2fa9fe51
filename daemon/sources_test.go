package daemon

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// newToolRig is a rig in which a script of sh stands for `pass`. It says its last
// argument in the file that calls reads.
func newToolRig(t *testing.T, kind, script string, change func(*Options)) *rig {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/pass", []byte("#!/bin/sh\necho $3 >>"+dir+"/calls\ncd "+dir+"\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	runner, err := source.StartRunner(Self(), wire.CleanEnvironment(os.Environ()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runner.Close)
	r := newRig(t, kind, func(o *Options) {
		o.runner = runner
		if change != nil {
			change(o)
		}
	})
	r.tools = dir
	return r
}

// calls are the names that the tool was asked for, in order.
func (r *rig) calls() string {
	text, _ := os.ReadFile(r.tools + "/calls")
	words := strings.Fields(string(text))
	slices.Sort(words)
	return strings.Join(words, " ")
}

func (r *rig) sourceOf(t *testing.T, name string) SecretStatus {
	t.Helper()
	s, err := r.agent.Status(t.Context(), r.root)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Secrets, func(s SecretStatus) bool { return s.Name == name })
	return s.Secrets[i]
}

func (r *rig) grantShell() *wire.Grant {
	r.t.Helper()
	g, err := r.agent.Grant(context.Background(), Query{Root: r.root, Shell: os.Getpid()})
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

func TestToolsAreAskedOnce(t *testing.T) {
	r := newToolRig(t, "", `echo "value of $3"`, nil) // there is no rack
	r.write("[secrets]\nA = 'pass:a'\nB = 'pass:b'\n")
	r.want(r.grant(), wire.NotAllowed, "", "acme/api: not allowed", "keyrack allow")
	if got := r.calls(); got != "" {
		t.Fatalf("asked for %q before the approval", got)
	}
	r.allow()
	if s := r.sourceOf(t, "A"); s.State != StateUnasked || s.Source != "pass:a" || s.Why != "" {
		t.Errorf("not asked yet: %+v", s)
	}
	r.want(r.grantShell(), wire.OK, "A=value of a B=value of b")
	r.want(r.grant(), wire.OK, "A=value of a B=value of b")
	if got := r.calls(); got != "a b" {
		t.Errorf("asked for %q", got)
	}
	if s := r.sourceOf(t, "A"); s.State != StateHeld || s.Source != "pass:a" {
		t.Errorf("held: %+v", s)
	}
	r.lock()
	r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
	if got := r.calls(); got != "a b" {
		t.Errorf("asked for %q while locked", got)
	}
}

func TestChain(t *testing.T) {
	const absent = `Error: a is not in the password store.`
	r := newToolRig(t, "none", `if [ $3 = a ]; then echo '`+absent+`' >&2; exit 1; fi; [ $3 != bad ] || exit 9; echo v$3`, nil)
	r.set("C", "of the rack")
	r.worksite(`[secrets]
A = { from = ["pass:a", "file:none", "pass:b"] }
B = { from = ["", "pass:c"] }
C = { from = ["pass:a", ""] }
D = { from = ["pass:bad", ""] }
E = { from = ["pass:a", ""] }
F = { from = ["file:none", "pass:a"], required = false }
G = { from = "pass:a", default = "plain" }
`)
	r.want(r.grant(), wire.Failed, "A=vb B=vc C=of the rack G=plain",
		"acme/api: D is missing: pass:bad: pass: exit code 9",
		"acme/api: E is missing: pass:a: "+absent+"; the rack: not in the rack")
	for _, want := range []SecretStatus{
		{Name: "A", Source: "pass:b", State: StateHeld},
		{Name: "B", Source: "pass:c", State: StateHeld},
		{Name: "C", Source: "rack", State: StateHeld},
		{Name: "D", Source: "pass:bad, else rack", State: StateMissing, Why: "pass:bad: pass: exit code 9"},
		{Name: "E", Source: "pass:a, else rack", State: StateMissing, Why: "pass:a: " + absent + "; the rack: not in the rack"},
		{Name: "G", Source: "pass:a", State: StateDefault},
	} {
		s := r.sourceOf(t, want.Name)
		if s.Source != want.Source || s.State != want.State || s.Why != want.Why {
			t.Errorf("%+v, not %+v", s, want)
		}
	}
}

// Each tool runs a few times at once, however much is asked for.
func TestFewAtOnce(t *testing.T) {
	r := newToolRig(t, "", `echo + >>runs; while [ $(wc -l <calls) -lt $(($(cat want))) ]; do sleep 0.01; done; echo - >>runs; echo v`, nil)
	site, vars := "[secrets]\n", []string{}
	for i := range 2*atOnce + 3 {
		site += fmt.Sprintf("A%d = 'pass:%d'\n", i, i)
		vars = append(vars, fmt.Sprintf("A%d=v", i))
	}
	if err := os.WriteFile(r.tools+"/want", []byte(strconv.Itoa(atOnce)), 0o600); err != nil { // all of them run until then
		t.Fatal(err)
	}
	r.worksite(site)
	r.want(r.grant(), wire.OK, strings.Join(vars, " "))
	runs, err := os.ReadFile(r.tools + "/runs")
	if err != nil {
		t.Fatal(err)
	}
	now, most := 0, 0
	for word := range strings.FieldsSeq(string(runs)) {
		if word == "+" {
			now++
		} else {
			now--
		}
		most = max(most, now)
	}
	if most != atOnce {
		t.Errorf("%d ran at once, not %d", most, atOnce)
	}
}

// A shell asks at every line: what failed is not run again for each of them. Who
// runs a command wants to know now.
func TestFailureIsNotRepeated(t *testing.T) {
	var clock atomic.Int64
	r := newToolRig(t, "", `exit 1`, func(o *Options) { o.Now = func() time.Duration { return time.Hour + time.Duration(clock.Load()) } })
	r.worksite("[secrets]\nA = 'pass:a'\n")
	const line = "acme/api: A is missing: pass:a: pass: exit code 1"
	for _, step := range []struct {
		shell bool
		wait  time.Duration
		calls string
	}{{true, 0, "a"}, {true, askAgain - 1, "a"}, {true, 1, "a a"}, {false, 0, "a a a"}, {true, 1, "a a a"}} {
		clock.Add(int64(step.wait))
		ask := r.grant
		if step.shell {
			ask = r.grantShell
		}
		r.want(ask(), wire.Failed, "", line)
		if got := r.calls(); got != step.calls {
			t.Errorf("after %+v asked for %q", step, got)
		}
	}
	if s := r.sourceOf(t, "A"); s.State != StateMissing || s.Why != strings.TrimPrefix(line, "acme/api: A is missing: ") {
		t.Errorf("%+v", s)
	}
}

// A store that hangs keeps no shell, and no other store's values.
func TestHangingStore(t *testing.T) {
	r := newToolRig(t, "none", `[ $3 != slow ] || read x <fifo; echo v$3`, nil)
	if err := unix.Mkfifo(r.tools+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	r.set("C", "3")
	r.worksite("[secrets]\nA = 'pass:slow'\nB = 'pass:b'\nC = ''\n")
	before := r.generation()
	var g *wire.Grant
	await(t, "the others' values", func() bool { g = r.grantShell(); return len(g.Vars) == 2 })
	r.want(g, wire.Failed, "B=vb C=3", "acme/api: pass has not answered yet")
	for range 3 { // once more with patience, and then without
		r.want(r.grantShell(), wire.Failed, "B=vb C=3", "acme/api: pass has not answered yet")
	}
	if got := r.calls(); got != "b slow" {
		t.Errorf("asked for %q", got)
	}
	got := make(chan *wire.Grant)
	go func() { g, _ := r.agent.Grant(context.Background(), Query{Root: r.root}); got <- g }()
	if err := os.WriteFile(r.tools+"/fifo", []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	r.want(<-got, wire.OK, "A=vslow B=vb C=3")
	r.want(r.grantShell(), wire.OK, "A=vslow B=vb C=3")
	await(t, "the shells that did not wait to be told", func() bool { return r.generation() != before })
}

func TestLockEndsTools(t *testing.T) {
	r := newToolRig(t, "", `echo $$ >pid; read x <fifo`, nil)
	if err := unix.Mkfifo(r.tools+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	r.worksite("[secrets]\nA = 'pass:a'\n")
	r.want(r.grantShell(), wire.Failed, "", "acme/api: pass has not answered yet")
	pid := 0
	await(t, "the tool to run", func() bool {
		text, _ := os.ReadFile(r.tools + "/pid")
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0
	})
	r.lock()
	await(t, "the tool to be gone", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
}

func TestHeldValuesAreMasked(t *testing.T) {
	r := newToolRig(t, "", `[ $3 != a ] || { echo hunter2; exit; }; while ! [ -e go ]; do sleep 0.01; done; echo "no hunter2" >&2; exit 1`, nil)
	r.worksite("[secrets]\nA = 'pass:a'\nB = 'pass:b'\n")
	await(t, "the value", func() bool { return len(r.grantShell().Vars) == 1 })
	if err := os.WriteFile(r.tools+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.want(r.grant(), wire.Failed, "A=hunter2", "acme/api: B is missing: pass:b: pass: no *******")
}

func TestToolsVariablesReachTheDaemon(t *testing.T) {
	for _, name := range source.Variables() {
		if got := wire.CleanEnvironment([]string{name + "=x"}); len(got) != 1 {
			t.Errorf("a daemon is started without %s", name)
		}
	}
}
