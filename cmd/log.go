package cmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/audit"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

func logCommand() *cobra.Command {
	var f logFilter
	var asJSON, follow bool
	c := &cobra.Command{
		Use:   "log",
		Short: "show who was given what, and when",
		Long: `Shows the audit log, the newest lines last: each grant, and what was set, read,
removed, locked, unlocked, allowed, denied or refused. It holds names, never values.

--since takes a time that has passed (90m, 12h, 7d) or a moment (2006-01-02,
"2006-01-02 15:04", 2006-01-02T15:04:05Z). --follow ends with Ctrl-C.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c, time.Now()); err != nil {
				return err
			}
			return showLog(c.Context(), &f, asJSON, follow)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.site, "site", "", "only what concerns this worksite, by its name")
	flags.StringVar(&f.name, "name", "", "only what concerns this secret")
	flags.StringVar(&f.since, "since", "", "only what happened since then")
	flags.StringVar(&f.event, "event", "", "only these events: "+strings.Join(audit.Events(), ","))
	flags.IntVar(&f.pid, "pid", 0, "only what this process asked for")
	flags.BoolVar(&asJSON, "json", false, "print the lines as they are, a JSON object each")
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what happens next")
	return c
}

// logFilter is which lines are wanted.
type logFilter struct {
	site, name, since, event string
	pid                      int

	after  time.Time
	events []string
}

// check reads what the person typed. now is what --since counts from.
func (f *logFilter) check(c *cobra.Command, now time.Time) error {
	if f.site != "" {
		if err := worksite.CheckName(f.site); err != nil {
			return usage(c, "--site: "+err.Error())
		}
	}
	if f.name != "" {
		if err := worksite.CheckSecretName(f.name); err != nil {
			return usage(c, "--name: "+err.Error())
		}
	}
	if c.Flags().Changed("pid") && f.pid <= 0 {
		return usage(c, "--pid is a process id")
	}
	if c.Flags().Changed("event") {
		f.events = strings.Split(f.event, ",")
		for _, event := range f.events {
			if !slices.Contains(audit.Events(), event) {
				return usage(c, fmt.Sprintf("--event: %q is none of %s", event, strings.Join(audit.Events(), ", ")))
			}
		}
	}
	if c.Flags().Changed("since") {
		var ok bool
		if f.after, ok = sinceTime(f.since, now); !ok {
			return usage(c, fmt.Sprintf("--since: %q is neither a time that has passed, such as 12h or 7d, nor a moment, such as 2006-01-02", f.since))
		}
	}
	return nil
}

// sinceTime is the moment that text names.
func sinceTime(text string, now time.Time) (time.Time, bool) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.Atoi(number)
		return now.AddDate(0, 0, -days), err == nil && days >= 0
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), d >= 0
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, true
		}
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}

func (f *logFilter) wants(e audit.Entry) bool {
	return (f.site == "" || e.Site == f.site) &&
		(f.name == "" || slices.Contains(e.Names, f.name)) &&
		(f.events == nil || slices.Contains(f.events, e.Event)) &&
		(f.pid == 0 || e.PID == f.pid || e.Client == f.pid) &&
		!e.Time.Before(f.after)
}

func showLog(ctx context.Context, f *logFilter, asJSON, follow bool) error {
	dir, err := stateDir()
	if err != nil {
		return err
	}
	written(ctx)
	var failed error
	show := func(l audit.Line) bool {
		switch {
		case l.Err != nil:
			say("%s", l.Err)
		case !f.wants(l.Entry):
		case asJSON:
			failed = output(string(l.Text) + "\n")
		default:
			failed = output(logLine(l.Entry))
		}
		return failed == nil
	}
	if follow {
		err = audit.Follow(ctx, dir, show)
	} else {
		err = audit.Read(dir, show)
	}
	if err == nil {
		err = failed
	}
	return err
}

// written has a running daemon write what it has, and says what it could not.
func written(ctx context.Context) {
	place, err := wire.FindPlace()
	if err != nil {
		return
	}
	client, err := daemon.Connect(ctx, place, "")
	if err != nil {
		return
	}
	status, err := client.Status(ctx, "")
	if err != nil || status.Daemon.Audit.Dropped == 0 {
		return
	}
	say("%s", auditLine(status.Daemon.Audit))
}

// auditLine says what the daemon could not write.
func auditLine(a daemon.Audit) string {
	text := fmt.Sprintf("the audit log lacks %d lines of this daemon", a.Dropped)
	if a.Dropped == 1 {
		text = "the audit log lacks 1 line of this daemon"
	}
	if a.Problem != "" {
		text += ": " + a.Problem
	}
	return text
}

// logLine is one entry for people, in local time.
func logLine(e audit.Entry) string {
	at := e.Time.Local().Format(time.DateTime)
	var text strings.Builder
	if e.Dropped > 0 {
		fmt.Fprintf(&text, "%s  %-7s  %d lines before the next one could not be written\n", at, "dropped", e.Dropped)
	}
	what := []string{}
	if e.Verb != "" && e.Verb != audit.Grant {
		what = append(what, e.Verb)
	}
	if names := logNames(e); names != "" {
		what = append(what, names)
	}
	for _, word := range []string{e.Status, e.Cause} {
		if word != "" {
			what = append(what, word)
		}
	}
	fmt.Fprintf(&text, "%s  %-7s  %s", at, worksite.Visible(e.Event), worksite.Visible(strings.Join(what, ", ")))
	if who := processLine(e.Process); who != "" {
		if len(what) > 0 {
			text.WriteString("  ")
		}
		text.WriteString(who)
	}
	return text.String() + "\n"
}

func logNames(e audit.Entry) string {
	text := e.Site
	if len(e.Names) > 0 {
		text += ": " + strings.Join(e.Names, " ")
	}
	if e.More > 0 {
		text += fmt.Sprintf(" and %d more", e.More)
	}
	return text
}

// processLine names a process for people: its command, and what tells it from others.
func processLine(p audit.Process) string {
	if p.PID == 0 {
		return ""
	}
	facts := []string{"pid " + strconv.Itoa(p.PID)}
	for _, fact := range []string{p.Exe, p.TTY} {
		if fact != "" {
			facts = append(facts, fact)
		}
	}
	if p.Parent != "" {
		facts = append(facts, "from "+p.Parent)
	}
	text := strings.Join(facts, ", ")
	if p.Command != "" {
		text = p.Command + " (" + text + ")"
	}
	return worksite.Visible(text)
}

// logSelf logs what this process did itself, without the daemon. That it was done
// stands, whatever becomes of the line.
func logSelf(event string, site *worksite.Site, root string) {
	dir, err := stateDir()
	if err == nil {
		e := audit.Entry{Event: event, Root: root, Process: audit.Look(os.Getpid()).WithParent()}
		e.Session = wire.SessionID()
		if site != nil {
			e.Site = site.Name
			for _, s := range site.Secrets {
				e.Names = append(e.Names, s.Name)
			}
		}
		err = audit.Append(dir, e)
	}
	if err != nil {
		say("not in the audit log: %s", err)
	}
}
