package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"keyrack/daemon"
	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// asker is the program that a person is asked about: the command that is to take
// this process's place.
type asker struct {
	query   daemon.Query
	command string // its name
	program string // its file
}

// confirm returns grant, or where the daemon gave nothing without a yes, asks the
// person at this process's terminal for that and returns the grant that follows from
// the answer.
func confirm(ctx context.Context, client *daemon.Client, query daemon.Query, argv []string, grant *wire.Grant) (*wire.Grant, error) {
	if grant.Status != wire.Unconfirmed {
		return grant, nil
	}
	waits := strings.Join(grant.Lines, ", ")
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, notRunnable(argv[0], err) // nobody is asked for nothing
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	terminal, err := openTTY()
	if err == nil {
		defer terminal.close()
		who := asker{query, filepath.Base(argv[0]), path}
		for {
			var grant *wire.Grant
			if grant, err = terminal.confirm(ctx, client, who); grant != nil || !errors.Is(err, errStopped) {
				return grant, noTerminal(waits, err)
			}
		}
	}
	return nil, noTerminal(waits, err)
}

// noTerminal puts words to errNoTerminal.
func noTerminal(waits string, err error) error {
	if errors.Is(err, errNoTerminal) {
		return &wire.Error{Status: wire.Unconfirmed, Message: waits + ", and there is no terminal to ask on"}
	}
	return err
}

// errAnswered says that no yes is needed any more: another shell has given it.
var errAnswered = errors.New("answered elsewhere")

// confirm asks once.
func (t *tty) confirm(ctx context.Context, client *daemon.Client, who asker) (*wire.Grant, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	defer t.end()
	watch, err := newWatch(ctx, client, who.query.Root)
	if err != nil {
		return nil, err
	}
	q, err := client.Question(ctx, who.query)
	if err != nil {
		return nil, err
	}
	if len(q.Names()) == 0 {
		return client.Grant(ctx, who.query)
	}
	watch.question, watch.until = q, time.Now().Add(q.Left+tick/2)
	t.write(questionText(q, who, audit.Look(os.Getppid())))
	answer, err := t.line(watch.enough)
	switch {
	case errors.Is(err, io.EOF):
		t.write("\n")
	case errors.Is(err, errAnswered):
		t.write("\nkeyrack: answered in another shell\n")
		return client.Grant(ctx, who.query)
	case errors.Is(err, context.DeadlineExceeded): // the daemon knows why
		t.write("\n")
	case err != nil:
		t.write("\n")
		return nil, err
	}
	return client.Answer(ctx, q.Token, isYes(answer))
}

func isYes(answer string) bool {
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// questionText is what a person decides on. Nothing in it can move the cursor or
// look like something else: what is not plain is quoted.
func questionText(q *daemon.Question, who asker, parent audit.Process) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, "keyrack: "+format+"\n", args...) }
	line("%s (%s) wants your yes for", worksite.Visible(q.Site), worksite.Visible(who.query.Root))
	for _, name := range q.Always {
		line("  %s, this once", worksite.Visible(name))
	}
	for _, name := range q.Session {
		line("  %s, until keyrack lock", worksite.Visible(name))
	}
	line("for the command %s (%s, pid %d)", worksite.Visible(who.command), worksite.Visible(who.program), os.Getpid())
	if parent.Command != "" {
		from := worksite.Visible(parent.Command)
		if parent.Exe != "" {
			from += " (" + worksite.Visible(parent.Exe) + ", pid " + fmt.Sprint(parent.PID) + ")"
		}
		line("started by %s", from)
	}
	text.WriteString("keyrack: give it? [y/N] ")
	return text.String()
}

// watch notices while a question is open what makes its answer moot. It looks at
// the file that changes with everything that the daemon decides.
type watch struct {
	ctx      context.Context
	client   *daemon.Client
	root     string
	file     string
	seen     string
	question *daemon.Question
	until    time.Time
}

func newWatch(ctx context.Context, client *daemon.Client, root string) (*watch, error) {
	place, err := wire.FindPlace()
	if err != nil {
		return nil, err
	}
	w := &watch{ctx: ctx, client: client, root: root, file: place.Generation}
	w.seen = w.generation()
	return w, nil
}

func (w *watch) generation() string {
	text, _ := os.ReadFile(w.file) // without the file everything counts as changed
	return string(text)
}

// enough is why nobody needs to wait for the answer any more, nil where somebody
// does.
func (w *watch) enough() error {
	if time.Now().After(w.until) {
		return context.DeadlineExceeded
	}
	now := w.generation()
	if now == w.seen && now != "" {
		return nil
	}
	w.seen = now
	status, err := w.client.Status(w.ctx, w.root)
	switch {
	case err != nil:
		return err
	case status.State == daemon.StateLocked, status.State == daemon.StateDenied, status.State == daemon.StateInvalid, status.State == daemon.StateNotAllowed:
		return blame(status)
	}
	names := w.question.Names()
	for _, s := range status.Secrets {
		if slices.Contains(names, s.Name) && !s.Confirmed {
			return nil
		}
	}
	return errAnswered
}

// blame is the error that a status stands for.
func blame(s *daemon.Status) error {
	e := &wire.Error{Status: s.State, Message: s.Why, Hint: s.Hint}
	if s.State == daemon.StateDenied {
		e.Status = wire.NotAllowed
	}
	return e
}
