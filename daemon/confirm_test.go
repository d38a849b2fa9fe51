package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyrack/daemon/wire"
)

const confirmSite = "[secrets]\nA = \"\"\nB = { confirm = \"session\" }\nC = { confirm = \"always\" }\n"

// asking is a rig with all three secrets of confirmSite.
func (r *rig) asking() {
	r.t.Helper()
	r.worksite(confirmSite)
	for i, name := range []string{"A", "B", "C"} {
		r.set(name, fmt.Sprint(i+1))
	}
}

// question opens a question, which must be about names.
func (r *rig) question(names string) *Question {
	r.t.Helper()
	q, err := r.agent.Question(context.Background(), Query{Root: r.root})
	if err != nil {
		r.t.Fatal(err)
	}
	if got := strings.Join(q.Names(), " "); got != names {
		r.t.Fatalf("the question is about %q, not %q", got, names)
	}
	return q
}

func (r *rig) answer(q *Question, yes bool) *wire.Grant {
	r.t.Helper()
	g, err := r.agent.Answer(context.Background(), q.Token, yes)
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// hooked is what the hook of a shell gets. The shell is this process.
func (r *rig) hooked() *wire.Grant {
	r.t.Helper()
	g, err := r.agent.Grant(context.Background(), Query{Root: r.root, Shell: os.Getpid()})
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

const waiting = "acme/api: B, C wait for your yes"

// confirming holds for every Agent.
var confirming = []struct {
	name string
	run  func(t *testing.T, r *rig)
}{
	{"nothing for a command before the yes", func(t *testing.T, r *rig) {
		r.asking()
		r.want(r.grant(), wire.Unconfirmed, "", waiting)
	}},
	{"the hook gets the others", func(t *testing.T, r *rig) {
		r.asking()
		g := r.hooked()
		r.want(g, wire.OK, "A=1", waiting+": keyrack exec -- COMMAND")
		if g.Summary != "acme/api: 1 secret for 8h" {
			t.Errorf("summary %q", g.Summary)
		}
	}},
	{"a yes gives once what is asked each time", func(t *testing.T, r *rig) {
		r.asking()
		before := r.generation()
		q := r.question("C B")
		if q.Site != "acme/api" || q.Left <= 0 || q.Left > questionTime {
			t.Errorf("%+v", q)
		}
		r.want(r.answer(q, true), wire.OK, "A=1 B=2 C=3")
		if r.generation() == before {
			t.Error("the yes for the session left the generation")
		}
		r.want(r.hooked(), wire.OK, "A=1 B=2", "acme/api: C waits for your yes: keyrack exec -- COMMAND")
		r.want(r.grant(), wire.Unconfirmed, "", "acme/api: C waits for your yes")
		before = r.generation()
		r.want(r.answer(r.question("C"), true), wire.OK, "A=1 B=2 C=3")
		if r.generation() != before {
			t.Error("a yes for once changed the generation")
		}
	}},
	{"no question where nothing waits", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = { confirm = \"never\" }\nB = { confirm = \"session\", required = false }\n")
		r.set("A", "1")
		if q := r.question(""); q.Token != "" {
			t.Error("a question about nothing has a token")
		}
		r.want(r.grant(), wire.OK, "A=1")
	}},
	{"no", func(t *testing.T, r *rig) {
		r.asking()
		q := r.question("C B")
		r.want(r.answer(q, false), wire.NotAllowed, "", "acme/api: no yes for C, B")
		r.want(r.answer(q, true), wire.NotAllowed, "", "the question is no longer open")
		r.want(r.grant(), wire.Unconfirmed, "", waiting)
	}},
	{"a token is good once", func(t *testing.T, r *rig) {
		r.asking()
		q := r.question("C B")
		r.want(r.answer(q, true), wire.OK, "A=1 B=2 C=3")
		r.want(r.answer(q, true), wire.NotAllowed, "", "the question is no longer open")
	}},
	{"a wrong token closes the question", func(t *testing.T, r *rig) {
		r.asking()
		q := r.question("C B")
		r.want(r.answer(&Question{Token: "MFRGGZDFMZTWQ2LKNNWG23TPOB"}, true), wire.NotAllowed, "", "the question is no longer open")
		r.want(r.answer(q, true), wire.NotAllowed, "", "the question is no longer open")
	}},
	{"a new question replaces the old one", func(t *testing.T, r *rig) {
		r.asking()
		old := r.question("C B")
		q := r.question("C B")
		r.want(r.answer(q, true), wire.OK, "A=1 B=2 C=3")
		r.want(r.answer(old, true), wire.NotAllowed, "", "the question is no longer open")
	}},
	{"lock while the question is open", func(t *testing.T, r *rig) {
		r.asking()
		q := r.question("C B")
		r.lock()
		r.want(r.answer(q, true), wire.Locked, "", "locked", "keyrack unlock")
		r.unlock(nil, 0)
		r.want(r.answer(q, true), wire.NotAllowed, "", "the question is no longer open")
		q = r.question("C B")
		r.lock()
		r.unlock(nil, 0)
		r.want(r.answer(q, true), wire.NotAllowed, "", "the question is no longer open")
		r.want(r.grant(), wire.Unconfirmed, "", waiting)
	}},
	{"lock withdraws a yes", func(t *testing.T, r *rig) {
		r.asking()
		r.answer(r.question("C B"), true)
		r.lock()
		r.unlock(nil, 0)
		r.want(r.hooked(), wire.OK, "A=1", waiting+": keyrack exec -- COMMAND")
	}},
	{"the file changes while the question is open", func(t *testing.T, r *rig) {
		r.asking()
		q := r.question("C B")
		r.write(confirmSite + "# changed\n")
		r.want(r.answer(q, true), wire.NotAllowed, "", "acme/api: not allowed", "keyrack allow")
		r.allow()
		q = r.question("C B")
		r.worksite(confirmSite + "# and again\n")
		r.want(r.answer(q, true), wire.NotAllowed, "", "acme/api: .keyrack.toml changed while the question was open")
	}},
	{"a changed file needs a new yes, also when it is changed back", func(t *testing.T, r *rig) {
		r.asking()
		r.answer(r.question("C B"), true)
		r.worksite(confirmSite + "# changed\n")
		r.want(r.hooked(), wire.OK, "A=1", waiting+": keyrack exec -- COMMAND")
		r.worksite(confirmSite)
		r.want(r.hooked(), wire.OK, "A=1", waiting+": keyrack exec -- COMMAND")
	}},
	{"denied while the question is open, and what was said before", func(t *testing.T, r *rig) {
		r.asking()
		r.answer(r.question("C B"), true)
		q := r.question("C")
		r.deny()
		r.agent.Touch(t.Context())
		r.want(r.answer(q, true), wire.NotAllowed, "", "denied", "keyrack allow")
		r.allow()
		r.want(r.hooked(), wire.OK, "A=1", waiting+": keyrack exec -- COMMAND")
	}},
	{"what else is wrong is said first", func(t *testing.T, r *rig) {
		r.worksite("[secrets]\nA = \"\"\nB = { confirm = \"always\" }\n")
		r.set("B", "2")
		g := r.grant()
		r.want(g, wire.Missing, "", "acme/api: A is missing", "keyrack set A", "acme/api: B waits for your yes")
		r.lock()
		_, err := r.agent.Question(t.Context(), Query{Root: r.root})
		wantError(t, err, wire.Locked, "acme/api: locked")
	}},
	{"a yes outlives the value, a new value too", func(t *testing.T, r *rig) {
		r.asking()
		r.answer(r.question("C B"), true)
		r.set("B", "20")
		r.want(r.hooked(), wire.OK, "A=1 B=20", "acme/api: C waits for your yes: keyrack exec -- COMMAND")
	}},
	{"get asks nobody", func(t *testing.T, r *rig) {
		r.asking()
		value, err := r.agent.Get(t.Context(), "acme/api", "C")
		if err != nil || string(value) != "3" {
			t.Errorf("%d bytes, %v", len(value), err)
		}
	}},
	{"status", func(t *testing.T, r *rig) {
		r.asking()
		want := func(want string) {
			t.Helper()
			var got []string
			for _, s := range r.status(r.root).Secrets {
				got = append(got, fmt.Sprint(s.Confirm, " ", s.Confirmed))
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		want("never true, session false, always false")
		r.answer(r.question("C B"), true)
		want("never true, session true, always false")
	}},
}

func TestConfirm(t *testing.T) {
	for _, b := range confirming {
		t.Run("cache/"+b.name, func(t *testing.T) { b.run(t, newRig(t, "none", nil)) })
		t.Run("client/"+b.name, func(t *testing.T) {
			r := newRig(t, "none", nil)
			r.overSocket()
			b.run(t, r)
		})
	}
}

func TestAnotherProcessGetsNoAnswer(t *testing.T) {
	r := newRig(t, "none", nil)
	r.overSocket()
	r.asking()
	q := r.question("C B")
	if got := r.run(t, "answer", q.Token); strings.TrimSpace(got) != wire.NotAllowed+" 0" {
		t.Errorf("another process got %q", got)
	}
	r.want(r.answer(q, true), wire.OK, "A=1 B=2 C=3")
}

// answerAs says yes as a process that was not asked, and prints what it gets.
func answerAs(token string) error {
	p, err := wire.FindPlace()
	if err != nil {
		return err
	}
	client, err := Connect(context.Background(), p, "")
	if err != nil {
		return err
	}
	g, err := client.Answer(context.Background(), token, true)
	if err == nil {
		fmt.Println(g.Status, len(g.Vars))
	}
	return err
}

// The pid of who was asked may be another process's by the time of the answer.
func TestRecycledPidGetsNoAnswer(t *testing.T) {
	r := newRig(t, "none", nil)
	r.asking()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	q, err := r.cache.question(t.Context(), Query{Root: r.root}, pid)
	if err != nil {
		t.Fatal(err)
	}
	r.cache.confirm.open[pid].start += "0"
	_, err = r.cache.redeem(q.Token, true, pid)
	wantError(t, err, wire.NotAllowed, "no longer open")
	q, err = r.cache.question(t.Context(), Query{Root: r.root}, pid)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	_, err = r.cache.redeem(q.Token, true, pid)
	wantError(t, err, wire.NotAllowed, "no longer open")
	_, err = r.cache.question(t.Context(), Query{Root: r.root}, pid)
	wantError(t, err, wire.Unavailable, "has ended")
}

// B8: what ends while the question is open is not given, even where its source
// would answer again.
func TestExpiryWhileTheQuestionIsOpen(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.worksite("ttl = \"1h\"\n[secrets]\nA = \"\"\nB = { confirm = \"session\", ttl = \"10m\" }\nC = { confirm = \"always\", ttl = \"20s\" }\n")
		for _, name := range []string{"A", "B", "C"} {
			r.set(name, name)
		}
		q := r.question("C B")
		if q.Left != 20*time.Second {
			t.Errorf("the question stays open for %s", q.Left)
		}
		time.Sleep(20 * time.Second)
		r.want(r.answer(q, true), wire.NotAllowed, "", "acme/api: C ended while the question was open")
		r.want(r.grant(), wire.Unconfirmed, "", waiting)

		// the clock runs on while the timers stand still
		q = r.question("C B")
		r.ahead.Add(int64(time.Minute))
		r.want(r.answer(q, true), wire.NotAllowed, "", "acme/api: C ended while the question was open")

		// in time, but the answer takes too long: it is fetched anew, or not given
		q = r.question("C B")
		time.Sleep(q.Left - time.Nanosecond)
		r.want(r.answer(q, true), wire.OK, "A=A B=B C=C")
	})
}

func TestQuestionEndsByItself(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.asking()
		q := r.question("C B")
		if q.Left != questionTime {
			t.Errorf("the question stays open for %s", q.Left)
		}
		time.Sleep(questionTime - time.Nanosecond)
		r.want(r.answer(q, true), wire.OK, "A=1 B=2 C=3")
		q = r.question("C")
		time.Sleep(questionTime)
		r.want(r.answer(q, true), wire.NotAllowed, "", "acme/api: no answer within 1m")
		q = r.question("C")
		time.Sleep(questionTime)
		r.want(r.answer(q, false), wire.NotAllowed, "", "acme/api: no answer within 1m")
	})
}

// A lock that comes between the check of the file and the yes wins.
func TestLockWhileAnswering(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.asking()
		q := r.question("C B")
		r.set("A", "10") // the answer has to look into the rack
		r.slow = make(chan struct{})
		var asking sync.WaitGroup
		asking.Go(func() { r.want(r.answer(q, true), wire.Locked, "", "acme/api: locked", "keyrack unlock") })
		synctest.Wait()
		r.lock()
		close(r.slow)
		asking.Wait()
		r.unlock(nil, 0)
		r.want(r.grant(), wire.Unconfirmed, "", waiting)
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	inBubble(t, "none", func(t *testing.T, r *timed) {
		r.asking()
		r.question("C B")
		for i := range maxQuestions {
			r.cache.confirm.open[1<<30+i] = &question{pid: 1<<30 + i, until: r.cache.now() + time.Minute}
		}
		delete(r.cache.confirm.open, os.Getpid())
		_, err := r.agent.Question(t.Context(), Query{Root: r.root})
		wantError(t, err, wire.Failed, "too many questions")
		time.Sleep(time.Minute)
		r.question("C B")
		if n := len(r.cache.confirm.open); n != 1 {
			t.Errorf("%d questions are kept", n)
		}
	})
}

// Many processes answer their questions at once, and each has its own answer.
func TestManyQuestionsAtOnce(t *testing.T) {
	r := newRig(t, "none", nil)
	r.asking()
	var pids []int
	for range 8 {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		pids = append(pids, cmd.Process.Pid)
	}
	var asking sync.WaitGroup
	for i, pid := range pids {
		asking.Go(func() {
			for range 20 {
				q, err := r.cache.question(t.Context(), Query{Root: r.root}, pid)
				if err != nil {
					t.Error(err)
					return
				}
				query, err := r.cache.redeem(q.Token, i%2 == 0, pid)
				if (err == nil) != (i%2 == 0) {
					t.Errorf("process %d: %v", i, err)
				} else if err == nil && !slices.Contains(query.with.names, "C") {
					t.Errorf("process %d: %q", i, query.with.names)
				}
			}
		})
	}
	asking.Wait()
	if n := len(r.cache.confirm.open); n != 0 {
		t.Errorf("%d questions are open", n)
	}
}
