package cmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

func whyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "why NAME [-- COMMAND [ARG...]]",
		Short: "tell where a secret comes from, who had it last, and what keeps it from being given",
		Long: `Tells of one secret of the worksite here where it comes from, until when the daemon
holds it, who had it last, and whether a command would be given it now: if not, why
not, and the command that mends it. NAME is its name, or its variable's. With a
COMMAND it tells of that one, of which all programs that it starts must be among
those that the secret is for. It fetches no value.

The exit code is 0 where it would be given, 3 where it is not allowed, 4 where it is
locked, 5 where it is missing, 1 for anything else.`,
		Args: func(c *cobra.Command, args []string) error {
			if dash := c.ArgsLenAtDash(); dash >= 0 && len(args) > dash {
				args = args[:dash]
			}
			return exactly("NAME")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			w, code, err := why(c.Context(), args[0], args[1:])
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(w)
			} else {
				_, err = os.Stderr.WriteString(w.lines(time.Now()))
			}
			if err == nil && code != 0 {
				err = codeError(code)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON on standard output")
	return c
}

// explanation is what there is to say of one secret. Last is the last line of the
// audit log that gave it to somebody. Note is what does not keep it from being
// given, but matters.
type explanation struct {
	daemon.SecretStatus
	Site     string       `json:"site"`
	Root     string       `json:"root"`
	Required bool         `json:"required"`
	Given    bool         `json:"given"`
	Hint     string       `json:"hint"`
	Note     string       `json:"note"`
	Last     *audit.Entry `json:"last"`

	withheld bool // from the command that is asked about
}

// why explains name, for the command argv where there is one, and returns the exit code that says so.
func why(ctx context.Context, name string, argv []string) (*explanation, int, error) {
	if err := worksite.CheckSecretName(name); err != nil {
		return nil, 0, err
	}
	root, err := findRoot("")
	if err != nil {
		return nil, 0, err
	}
	client, err := connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	status, err := client.Status(ctx, root)
	if err != nil {
		return nil, 0, err
	}
	w := &explanation{Site: status.Site, Root: root, Required: true}
	w.Name, w.Env, w.State, w.Why, w.Hint = name, name, status.State, status.Why, status.Hint
	if len(status.Secrets) == 0 && status.State != daemon.StateOK { // the file can't be read
		return w, exitCode(statusOf(status.State)), nil
	}
	find := func(of func(daemon.SecretStatus) string) int {
		return slices.IndexFunc(status.Secrets, func(s daemon.SecretStatus) bool { return of(s) == name })
	}
	at := find(func(s daemon.SecretStatus) string { return s.Name })
	if at < 0 {
		at = find(func(s daemon.SecretStatus) string { return s.Env })
	}
	if at < 0 {
		return nil, 0, &hinted{fmt.Errorf("%s does not ask for %s", status.Site, name), "keyrack status"}
	}
	site, _ := worksite.Read(root)
	w = explain(status, status.Secrets[at], site)
	w.Last, err = lastGiven(w.Site, w.Name)
	if len(argv) > 0 {
		dir, err := os.Getwd()
		if err != nil {
			return nil, 0, err
		}
		w.withheld = !isFor(w.SecretStatus, argv, root, dir)
	}
	return w, w.decide(status), err
}

// explain is what there is to say of s, before decide. site is nil where its file
// can't be read any more.
func explain(status *daemon.Status, s daemon.SecretStatus, site *worksite.Site) *explanation {
	asked, ok := askedFor(site, s.Name)
	return &explanation{SecretStatus: s, Site: status.Site, Root: status.Root, Required: !ok || asked.Required}
}

// askedFor is what site, which may be nil, asks for under name.
func askedFor(site *worksite.Site, name string) (s worksite.Secret, ok bool) {
	if site == nil {
		return s, false
	}
	at := slices.IndexFunc(site.Secrets, func(s worksite.Secret) bool { return s.Name == name })
	if at < 0 {
		return s, false
	}
	return site.Secrets[at], true
}

// statusOf is the protocol's word for a worksite's state.
func statusOf(state string) string {
	if state == daemon.StateDenied {
		return wire.NotAllowed
	}
	return state
}

// decide finds out whether the secret would be given, and returns the exit code.
func (w *explanation) decide(s *daemon.Status) int {
	w.Hint = ""
	if s.State != daemon.StateOK && s.State != daemon.StateMissing {
		w.Why, w.Hint = s.Why, s.Hint
		if w.Held || w.State == "" { // what is held is not given either
			w.State = s.State
		}
		return exitCode(statusOf(s.State))
	}
	switch w.State {
	case daemon.StateLocked:
		w.Why, w.Hint = "locked", "keyrack unlock"
		return exitLocked
	case daemon.StateEnvironment:
		if len(withValue(w.Variables)) == 0 {
			return exitMissing
		}
	case daemon.StateNotAllowed:
		w.Hint = "keyrack allow"
		return exitNotAllowed
	case daemon.StateMissing:
		switch {
		case !w.inRack(): // what is wrong says what mends it
		case s.Rack == "":
			w.Hint = "keyrack rack create"
		default:
			w.Hint = "keyrack set " + w.Name
		}
		if !w.Required {
			w.Note = "it is not required: commands run without it"
		}
		return exitMissing
	}
	if w.Confirm == worksite.ConfirmAlways || w.Confirm == worksite.ConfirmSession && !w.Confirmed {
		w.Why, w.Hint = "it waits for your yes", "keyrack exec -- COMMAND"
		return exitNotAllowed
	}
	if w.withheld {
		w.Why = "it is for " + strings.Join(w.For, ", ")
		return exitNotAllowed
	}
	w.Given, w.Why = true, ""
	if s.State != daemon.StateOK {
		w.Note, w.Hint = "keyrack exec runs nothing here: "+s.Why, s.Hint
	}
	return 0
}

// inRack says whether the rack may have the value.
func (w *explanation) inRack() bool {
	return slices.Contains(strings.Split(w.Source, ", else "), "rack")
}

// lastGiven is the last line of the log that gave name to somebody.
func lastGiven(site, name string) (last *audit.Entry, err error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	err = audit.Read(dir, func(l audit.Line) bool {
		e := l.Entry
		if (e.Event == audit.Grant || e.Event == audit.Get) && e.Site == site && slices.Contains(e.Names, name) {
			last = &e
		}
		return true
	})
	return last, err
}

// lines are the explanation for people.
func (w *explanation) lines(now time.Time) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, "keyrack: "+format+"\n", args...) }
	if w.Given {
		line("%s would be given to %s in %s", secretName(w.SecretStatus), commandsOf(w.SecretStatus), worksite.Visible(w.Root))
	} else {
		line("%s would not be given: %s", secretName(w.SecretStatus), w.Why)
	}
	if w.Source != "" {
		line("from: %s", w.from(now))
	}
	if w.Last != nil {
		line("last given: %s to %s", w.Last.Time.Local().Format(time.DateTime), lastLine(w.Last, w.Root))
	} else if w.Source != "" {
		line("last given: not in the audit log")
	}
	if w.Note != "" {
		line("%s", w.Note)
	}
	if w.Hint != "" {
		text.WriteString(w.Hint + "\n")
	}
	return text.String()
}

// commandsOf says which commands s is for.
func commandsOf(s daemon.SecretStatus) string {
	switch {
	case s.For == nil && s.As != worksite.AsEnv:
		return "keyrack exec alone"
	case s.For == nil:
		return "each command"
	case len(s.For) == 0:
		return "keyrack exec and helpers alone"
	}
	return worksite.Visible(strings.Join(s.For, ", "))
}

// from says where the value comes from and how long it is there.
func (w *explanation) from(now time.Time) string {
	text := w.Source
	if w.inRack() {
		text += ", under " + w.Site
	}
	switch {
	case w.Held:
		until := now.Add(time.Duration(w.LeftSeconds) * time.Second)
		return fmt.Sprintf("%s; held until %s, %s left of %s", text, until.Format(time.DateTime), short(w.LeftSeconds), short(w.TTLSeconds))
	case w.State == daemon.StateDefault:
		return "the default in " + worksite.FileName
	case w.State == daemon.StateUnasked:
		return text + "; not asked yet, and held for " + short(w.TTLSeconds) + " once it answers"
	case w.State == daemon.StateAvailable:
		return text + "; not held, and fetched for " + short(w.TTLSeconds) + " when a command needs it"
	}
	return text
}

func lastLine(e *audit.Entry, root string) string {
	text := processLine(e.Process)
	if e.Event == audit.Get {
		text += ", by keyrack get"
	} else if e.Root != "" && e.Root != root {
		text += ", in " + worksite.Visible(e.Root)
	}
	return text
}
