package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
)

// newAudited is a rig over the socket that keeps an audit log.
func newAudited(t testing.TB) *rig {
	r := newRig(t, "none", func(o *Options) { o.AuditDir = filepath.Dir(o.DataDir) + "/state" })
	r.overSocket()
	return r
}

// audited returns what the log holds by now.
func (r *rig) audited() (entries []audit.Entry) {
	r.t.Helper()
	r.flushed()
	err := audit.Read(r.options.AuditDir, func(l audit.Line) bool {
		if l.Err != nil {
			r.t.Error(l.Err)
		}
		entries = append(entries, l.Entry)
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

func (r *rig) flushed() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.cache.audit.Flush(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// auditText is all that stands in the log's files.
func (r *rig) auditText() string {
	r.t.Helper()
	r.flushed()
	var all strings.Builder
	paths, _ := filepath.Glob(r.options.AuditDir + "/*")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			r.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// told writes an entry for comparing, without who and when.
func told(e audit.Entry) string {
	words := []string{e.Event}
	for _, word := range []string{e.Verb, e.Status, e.Cause, e.Site, strings.Join(e.Names, ",")} {
		if word != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// Each verb that gives or changes something leaves its line, in order; those that
// do not leave none.
func TestAuditOfEachVerb(t *testing.T) {
	r := newAudited(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fails := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("no error")
		}
	}
	var want []string
	add := func(lines ...string) { want = append(want, lines...) }

	add("start")
	r.write("[secrets]\nA = \"\"\nB = { env = \"OTHER\" }\nC = { default = \"plain\" }\n")
	r.want(r.grant(), wire.NotAllowed, "", "acme/api: not allowed", "keyrack allow")
	add("refused grant not-allowed acme/api")
	r.allow()
	r.set("A", "canary-1")
	add("set acme/api A")
	r.want(r.grant(), wire.Missing, "A=canary-1 C=plain", "acme/api: B is missing", "keyrack set B")
	add("grant missing acme/api A")
	r.set("B", "canary-2")
	add("set acme/api B")
	r.want(r.grant(), wire.OK, "A=canary-1 OTHER=canary-2 C=plain")
	r.want(r.grant(), wire.OK, "A=canary-1 OTHER=canary-2 C=plain")
	add("grant acme/api A,B", "grant acme/api A,B")
	_, err := r.agent.Get(ctx, "acme/api", "A")
	must(err)
	add("get acme/api A")
	_, err = r.agent.Get(ctx, "acme/api", "D")
	fails(err)
	add("refused get missing")
	must(r.agent.Remove(ctx, "acme/api", "B"))
	add("rm acme/api B")
	fails(r.agent.Remove(ctx, "canary-3", "canary-4"))
	add("refused rm invalid")
	fails(r.agent.Set(ctx, "canary 5", "canary-6", []byte("canary-7")))
	add("refused set invalid")
	_, err = r.agent.List(ctx, "")
	must(err)
	_, err = r.agent.Status(ctx, r.root)
	must(err)
	must(r.agent.Touch(ctx))
	must(r.agent.Lock(ctx))
	add("lock")
	r.want(r.grant(), wire.Locked, "", "acme/api: locked", "keyrack unlock")
	add("refused grant locked acme/api")
	fails(r.agent.Unlock(ctx, []byte("canary-8"), 0))
	add("refused unlock failed")
	must(r.agent.Unlock(ctx, nil, 0))
	add("unlock")
	r.write("[secrets]\nA = \"op://canary-9\"\nB = canary-10\n")
	r.grant()
	add("refused grant invalid")
	g, err := r.agent.Grant(ctx, Query{Root: "/nowhere/canary-11"})
	if err != nil || g.Status != wire.Invalid {
		t.Errorf("%+v, %v", g, err)
	}
	add("refused grant invalid")
	r.write("[secrets]\n")
	r.allow()
	r.grant() // gives nothing, and refuses nothing

	var got []string
	for _, e := range r.audited() {
		got = append(got, told(e))
		if e.UID != os.Geteuid() || e.PID != os.Getpid() || time.Since(e.Time) > time.Minute {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if text := r.auditText(); strings.Contains(text, "canary") {
		t.Errorf("a value, or what may be one, is in the log: %s", text)
	}
}

// What a person must say yes to is logged when it is given, and when it is not.
func TestAuditOfConfirm(t *testing.T) {
	r := newAudited(t)
	r.worksite("[secrets]\nA = { confirm = \"always\" }\n")
	r.set("A", "1")
	client := r.agent.(*Client)
	client.Command = "deploy"
	for _, yes := range []bool{false, true} {
		if g := r.grant(); g.Status != wire.Unconfirmed {
			t.Fatalf("status %s", g.Status)
		}
		q, err := client.Question(t.Context(), Query{Root: r.root})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Answer(t.Context(), q.Token, yes); err != nil {
			t.Fatal(err)
		}
	}
	entries := r.audited()
	var got []string
	for _, e := range entries {
		got = append(got, told(e))
	}
	if want := []string{"start", "set acme/api A", "refused answer not-allowed", "grant confirmed acme/api A"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	if last := entries[3]; last.Command != "deploy" || last.Root != r.root {
		t.Errorf("%+v", last)
	}
}

func TestCommandName(t *testing.T) {
	for text, want := range map[string]bool{"make": true, "python3.11": true, "[": true, "a+b-c_d": true, "": false,
		"TOKEN=hunter2": false, "a b": false, "/bin/sh": false, "x\n": false, "é": false, strings.Repeat("x", 65): false} {
		if commandName(text) != want {
			t.Errorf("%q", text)
		}
	}
}

// askOften is a client that asks for the worksite at args[0] as often as args[1] says.
func askOften(args []string) error {
	place, err := wire.FindPlace()
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(args[1])
	for range times {
		if answer, err := wire.Call(place, time.Minute, nil, []byte(wire.VerbHook), []byte(args[0]), nil); err != nil {
			fmt.Println(err)
		} else {
			fmt.Printf("%s\n", answer[0])
		}
	}
	return err
}

// askAs is a client of its own that asks for the worksite at root on behalf of
// shell, by default its parent, and for what the hook of zsh does by itself.
func askAs(args []string) error {
	place, err := wire.FindPlace()
	if err != nil {
		return err
	}
	shell := args[1]
	if shell == "parent" {
		shell = strconv.Itoa(os.Getppid())
	}
	_, err = wire.Call(place, 10*time.Second, nil, []byte(wire.VerbHook), []byte(args[0]), []byte(shell))
	fmt.Println(os.Getpid())
	return err
}

// The line names the shell for which its client asks; a client that names another
// shell than the one that started it is named itself.
func TestAuditOfShells(t *testing.T) {
	r := newAudited(t)
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if sh, err = filepath.EvalSymlinks(sh); err != nil {
		t.Fatal(err)
	}
	last := func(cmd *exec.Cmd) (audit.Entry, int) {
		t.Helper()
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		client, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		entries := r.audited()
		return entries[len(entries)-1], client
	}
	shell := exec.Command(sh, "-c", `"$0" ask-as "$1" parent; :`, r.exe, r.root)
	e, client := last(shell)
	if e.PID != shell.Process.Pid || e.Client != client || e.Exe != sh || !strings.HasPrefix(filepath.Base(sh), e.Command) || e.Parent != "" {
		t.Errorf("a client of a shell: %+v", e)
	}
	subshell := exec.Command(sh, "-c", `(x=$("$0" ask-as "$1" $$; :); echo "$x"; :); :`, r.exe, r.root)
	if e, client = last(subshell); e.PID != subshell.Process.Pid || e.Client != client {
		t.Errorf("a client of a shell's subshell: %+v", e)
	}
	liar := r.command("ask-as", r.root, strconv.Itoa(other(t)))
	if e, client = last(liar); e.PID != client || e.Client != 0 || e.Exe != r.exe && e.Exe != resolved(t, r.exe) || e.ParentPID != os.Getpid() || e.Parent == "" {
		t.Errorf("a client that names a shell of somebody else's: %+v", e)
	}
	direct := r.command("ask-as", r.root, "")
	if e, client = last(direct); e.PID != client || e.Client != 0 || e.Command == "" {
		t.Errorf("a shell that asks itself: %+v", e)
	}
}

// The line names the login session where there is one.
func TestAuditOfSessions(t *testing.T) {
	r := newAudited(t)
	s := newServer(r.options, r.cache, func() {})
	if p := s.who(&peer{pid: os.Getpid(), session: "7"}, Query{}); p.Session != "7" || p.PID != os.Getpid() {
		t.Errorf("%+v", p)
	}
}

func resolved(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// other is a process that has nothing to do with the client.
func other(t *testing.T) int {
	return newTellTale(t).pid
}

// A log that can't be written refuses nobody, and says what it dropped; with
// strict it refuses, until it can be written again.
func TestAuditUnwritable(t *testing.T) {
	r := newAudited(t)
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.audited()
	if err := errors.Join(os.RemoveAll(r.options.AuditDir), os.WriteFile(r.options.AuditDir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.want(r.grant(), wire.OK, "A=1")
	s, err := r.agent.Status(t.Context(), "")
	if err != nil || s.Daemon.Audit.Dropped != 1 || !strings.Contains(s.Daemon.Audit.Problem, "not a directory") || s.Daemon.Audit.File != audit.Path(r.options.AuditDir) {
		t.Errorf("%+v, %v", s.Daemon.Audit, err)
	}
	r.config("strict = true\n")
	g := r.grant()
	if g.Status != wire.Unavailable || len(g.Vars) != 0 || !strings.Contains(g.Lines[0], "an audit log: ") {
		t.Errorf("strict: %+v", g)
	}
	r.flushed()
	if err := os.Remove(r.options.AuditDir); err != nil {
		t.Fatal(err)
	}
	r.grant() // refused, but its line is written
	r.flushed()
	r.want(r.grant(), wire.OK, "A=1")
	var got []string
	dropped := uint64(0)
	for _, e := range r.audited() {
		got = append(got, told(e))
		dropped += e.Dropped
	}
	if want := []string{"refused grant unavailable acme/api", "grant acme/api A"}; !slices.Equal(got, want) || dropped != 2 {
		t.Errorf("%q, %d dropped, want %q", got, dropped, want)
	}
}

// What locks by itself says why, and what ends is written.
func TestAuditOfItself(t *testing.T) {
	var clock atomic.Int64
	r := newRig(t, "none", func(o *Options) {
		o.AuditDir = filepath.Dir(o.DataDir) + "/state"
		o.Now = func() time.Duration { return time.Hour + time.Duration(clock.Load()) }
	})
	r.config("idle = \"10m\"\n")
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.want(r.grant(), wire.OK, "A=1")
	clock.Store(int64(11 * time.Minute))
	r.cache.sweep()
	r.cache.Close()
	var got []string
	for _, e := range r.audited() {
		got = append(got, told(e))
	}
	if want := []string{"start", "lock idle", "stop"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// BenchmarkAudit is a warm grant of 10 secrets, as zsh asks for it, from a daemon
// with a log and from one without, turn by turn.
func BenchmarkAudit(b *testing.B) {
	ask := func(logged bool) (socket string, request []byte, pid int) {
		r := newRig(b, "none", nil)
		if !logged {
			b.Setenv("XDG_STATE_HOME", "")
		}
		r.cache.Close()
		r.agent = r.connect(b)
		var text strings.Builder
		text.WriteString("[secrets]\n")
		for i := range 10 {
			fmt.Fprintf(&text, "SECRET_%d = \"\"\n", i)
			r.set(fmt.Sprintf("SECRET_%d", i), strings.Repeat("v", 40))
		}
		r.worksite(text.String())
		request, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbHook), []byte(r.root), nil)
		if err != nil {
			b.Fatal(err)
		}
		return r.place.Socket, request, r.pid(b)
	}
	logged, request, loggedPID := ask(true)
	plain, other, plainPID := ask(false)
	loggedBefore, plainBefore := processor(b, loggedPID), processor(b, plainPID)
	var with, without []time.Duration
	for b.Loop() {
		if len(with)%2 == 0 { // neither is always the first
			with = append(with, took(b, func() error { return bare(logged, request) }))
			without = append(without, took(b, func() error { return bare(plain, other) }))
		} else {
			without = append(without, took(b, func() error { return bare(plain, other) }))
			with = append(with, took(b, func() error { return bare(logged, request) }))
		}
	}
	each := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(len(with)) }
	b.ReportMetric(each(processor(b, loggedPID)-loggedBefore), "logged-cpu-µs")
	b.ReportMetric(each(processor(b, plainPID)-plainBefore), "plain-cpu-µs")
	percentiles(b, "logged", with)
	percentiles(b, "plain", without)
	b.ReportMetric(float64(median(with)-median(without))/1e3, "cost-µs")
}

// processor is the time that the threads of pid have run.
func processor(b *testing.B, pid int) (ran time.Duration) {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatal(tasks, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ran += time.Duration(n)
	}
	return ran
}

// Whatever a client sends, nothing of it gets into the log that is not the name of
// something that is there.
func FuzzAudit(f *testing.F) {
	r := newAudited(f)
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	verbs := []string{wire.VerbHook, wire.VerbGrant, wire.VerbStatus, wire.VerbGet, wire.VerbSet, wire.VerbRemove, wire.VerbList,
		wire.VerbLock, wire.VerbUnlock, wire.VerbTouch, wire.VerbQuestion, wire.VerbAnswer, wire.VerbPing}
	for i := range verbs {
		f.Add(uint8(i), "acme/api", "A", "x")
		f.Add(uint8(i), "", "acme/api", "A")
		f.Add(uint8(i), r.root, "\n", "")
	}
	const marker = "canary"
	f.Fuzz(func(t *testing.T, verb uint8, a, b, c string) {
		r.t = t
		name, place := verbs[int(verb)%len(verbs)], int(verb)/len(verbs)%3
		for n := range 4 {
			args := [][]byte{[]byte(name)}
			for i, text := range []string{a, b, c}[:n] {
				if i == place {
					text += marker
				}
				args = append(args, []byte(strings.ReplaceAll(text, "\x00", "")))
			}
			answer, err := wire.Call(r.place, 10*time.Second, nil, args...)
			text := r.auditText()
			switch ok := err == nil && len(answer) > 0 && string(answer[0]) == wire.OK; {
			case ok && name == wire.VerbSet && place < 2: // it is a name now
				r.agent.Remove(context.Background(), string(args[1]), string(args[2]))
			case name == wire.VerbGrant && place == 1 && len(args) > 2 && string(args[1]) == r.root && commandName(string(args[2])):
			case strings.Contains(text, marker):
				t.Errorf("%q is in the log: %s", args, text)
			}
			r.unlock(nil, 0) // what was locked is refused, and that is only one path
			r.forgetAudit(t)
		}
	})
}

// forgetAudit starts the log anew.
func (r *rig) forgetAudit(t *testing.T) {
	r.flushed()
	paths, _ := filepath.Glob(r.options.AuditDir + "/audit.jsonl*")
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
