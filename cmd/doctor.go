package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"keyrack/daemon"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "check every part for real, and say what mends it",
		Long: `Checks every part of keyrack for real: the hook, the programs, the daemon, its scope
and memory, the audit log, the rack and its lock, the worksite here and each of its
secrets, the approvals, the clock, your config. It says one line a part and, where
something is to be done, the command that does it.

    ok        it does what it is there for
    warning   it works, but is weaker than it could be, or waits for you
    broken    it does not do what it is there for

Where no daemon runs it starts one, as any command does: that it starts is what is
to be checked. It ends by itself when nobody uses it. The rack is opened, no value is
fetched or shown, and start-up files are read, never run.

The exit code is 1 where something is broken, else 0.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := newCheckup(c.Context())
			if err != nil {
				return err
			}
			d.checkAll(c.Context())
			report := d.report()
			if asJSON {
				err = printJSON(report)
			} else {
				err = report.write(os.Stderr)
			}
			if err == nil && !report.OK {
				err = codeError(exitFailed)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON on standard output")
	return c
}

// The states of a part.
const (
	partOK     = "ok"
	partWarn   = "warning"
	partBroken = "broken"
)

// finding is how one part stands. Subject is the secret or the directory that it is
// about where a part has several. Mend is the command that mends it, "" for none.
type finding struct {
	Part    string `json:"part"`
	Subject string `json:"subject"`
	State   string `json:"state"`
	Text    string `json:"text"`
	Mend    string `json:"mend"`
}

// checkup is one run of doctor. Without a daemon client and status are nil, and
// problem says why.
type checkup struct {
	began   time.Time
	ttlTime time.Duration // of the clock that ends values, when it began
	root    string        // of the worksite here, "" outside
	rack    source.Rack
	place   wire.Place

	stateDir, configFile string

	client  *daemon.Client
	status  *daemon.Status
	problem error

	found []finding
}

// newCheckup finds out what several parts need to know.
func newCheckup(ctx context.Context) (d *checkup, err error) {
	d = &checkup{began: time.Now()}
	d.ttlTime, _ = ttlNow() // checked later
	if d.root, err = lookForRoot(""); err != nil {
		return nil, err
	}
	if d.rack, err = rack(); err != nil {
		return nil, err
	}
	if d.stateDir, err = stateDir(); err != nil {
		return nil, err
	}
	if d.configFile, err = configFile(); err != nil {
		return nil, err
	}
	if d.place, err = wire.FindPlace(); err != nil {
		return nil, err
	}
	client, err := connect(ctx)
	if err == nil {
		d.client = client
		d.status, err = client.Status(ctx, d.root)
	}
	d.problem = err
	return d, nil
}

func (d *checkup) checkAll(ctx context.Context) {
	d.checkHook()
	d.checkProgram()
	d.checkClient()
	d.checkDaemon()
	d.checkScope()
	d.checkMemory()
	d.checkLog()
	d.checkRack(ctx)
	d.checkWorksite()
	d.checkApprovals()
	d.checkClock()
	d.checkConfig()
}

func (d *checkup) add(part, state, mend, format string, args ...any) {
	d.found = append(d.found, finding{Part: part, State: state, Text: fmt.Sprintf(format, args...), Mend: mend})
}

func (d *checkup) ok(part, format string, args ...any) { d.add(part, partOK, "", format, args...) }

func (d *checkup) warn(part, mend, format string, args ...any) {
	d.add(part, partWarn, mend, format, args...)
}

func (d *checkup) broken(part, mend, format string, args ...any) {
	d.add(part, partBroken, mend, format, args...)
}

// private says what is wrong with the owner or the mode of a file that is this
// user's alone, and the command that mends it; "" where nothing is, or no file.
func private(path, mode string) (wrong, mend string) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return "", ""
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("%s belongs to another user (uid %d)", worksite.Visible(path), st.Uid), ""
	case st.Mode&0o077 != 0:
		return fmt.Sprintf("%s is open to others (mode %03o)", worksite.Visible(path), st.Mode&0o777), "chmod " + mode + " " + shellWord(path)
	}
	return "", ""
}

// edit is the command that opens a file in the person's editor.
func edit(path string) string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if editor := os.Getenv(name); editor != "" {
			return editor + " " + shellWord(path)
		}
	}
	return "vi " + shellWord(path)
}

// doctorReport is what doctor found. Its JSON keeps its shape; parts may come to it.
type doctorReport struct {
	OK       bool      `json:"ok"` // nothing is broken
	Version  string    `json:"version"`
	Broken   int       `json:"broken"`
	Warnings int       `json:"warnings"`
	Checks   []finding `json:"checks"`
}

func (d *checkup) report() *doctorReport {
	r := &doctorReport{Version: version(), Checks: d.found}
	for _, f := range d.found {
		switch f.State {
		case partBroken:
			r.Broken++
		case partWarn:
			r.Warnings++
		}
	}
	r.OK = r.Broken == 0
	return r
}

// write writes the report for people. A command that mends several parts in turn
// stands once, after the last of them.
func (r *doctorReport) write(w io.Writer) error {
	var text strings.Builder
	lines := onOneScreen(r.Checks)
	for i, f := range lines {
		fmt.Fprintf(&text, "keyrack: %-12s  %-7s  %s\n", f.Part, f.State, f.Text)
		if f.Mend != "" && (i+1 == len(lines) || lines[i+1].Mend != f.Mend) {
			fmt.Fprintln(&text, f.Mend)
		}
	}
	if r.Broken == 0 && r.Warnings == 0 {
		text.WriteString("keyrack: all is well\n")
	} else {
		fmt.Fprintf(&text, "keyrack: %d broken, %s\n", r.Broken, count(r.Warnings, "warning"))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// perPart is how many lines in one state a part may have.
const perPart = 5

// onOneScreen puts the secrets that are ok into one line, and leaves out what is too
// much of the same.
func onOneScreen(found []finding) (lines []finding) {
	for len(found) > 0 {
		first, n := found[0], 1
		for n < len(found) && found[n].Part == first.Part && found[n].State == first.State {
			n++
		}
		switch {
		case first.Part == partSecret && first.State == partOK:
			lines = append(lines, finding{Part: first.Part, State: first.State, Text: listed(found[:n])})
		case n > perPart:
			lines = append(lines, found[:perPart]...)
			more := fmt.Sprintf("and %d more", n-perPart)
			lines = append(lines, finding{Part: first.Part, State: first.State, Text: more, Mend: "keyrack doctor --json"})
		default:
			lines = append(lines, found[:n]...)
		}
		found = found[n:]
	}
	return lines
}

// maxListed bounds a list in one line.
const maxListed = 6

func listed(found []finding) string {
	var texts []string
	for _, f := range found[:min(len(found), maxListed)] {
		texts = append(texts, f.Text)
	}
	if more := len(found) - maxListed; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}
