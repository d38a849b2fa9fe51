package cmd

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/BurntSushi/toml"

	"keyrack/daemon"
	"keyrack/daemon/audit"
	"keyrack/worksite"
)

const partSecret = "secret"

// checkWorksite looks at the file of the worksite here and at the word on it, and at
// its secrets where that word is yes.
func (d *checkup) checkWorksite() {
	const part = "worksite"
	if d.root == "" {
		d.ok(part, "none here")
		return
	}
	store, err := approvals()
	if err != nil { // newCheckup found the same directory
		d.broken(part, "", "%s", err)
		return
	}
	if store.Denied(d.root) {
		d.warn(part, "keyrack allow", "%s is denied: it is given nothing", worksite.Visible(d.root))
		return
	}
	site, err := usable(d.root)
	if err != nil {
		d.broken(part, mendFile(filepath.Join(d.root, worksite.FileName), err), "%s", err)
		return
	}
	if store.Check(site) != worksite.Allowed {
		d.warn(part, "keyrack allow", "%s in %s is valid, and waits for your approval", site.Name, worksite.Visible(d.root))
		return
	}
	if programs, err := site.Programs(); err != nil {
		d.broken(part, "", "%s", err)
		return
	} else if !maps.Equal(programs, store.Programs(site)) {
		d.warn(part, "keyrack allow", "%s: what its commands run has changed since it was approved", site.Name)
		return
	}
	d.ok(part, "%s in %s: valid and approved", site.Name, worksite.Visible(d.root))
	d.checkSecrets(site)
}

// mendFile is the command that mends the worksite's file or, where the error is of
// that, the person's config: the file's mode, else its text.
func mendFile(path string, err error) string {
	if _, ok := errors.AsType[*worksite.Error](err); !ok {
		if config, err := configFile(); err == nil {
			path = config
		}
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o022 != 0 {
		return "chmod go-w " + shellWord(path)
	}
	return edit(path)
}

// checkSecrets tells of each secret what `keyrack why` would, the worst last.
func (d *checkup) checkSecrets(site *worksite.Site) {
	if d.status == nil {
		d.warn(partSecret, "", "not checked: there is no daemon for it")
		return
	}
	var found []finding
	for _, s := range d.status.Secrets {
		w := explain(d.status, s, site)
		code := w.decide(d.status)
		f := finding{Part: partSecret, Subject: s.Name, State: partOK, Text: secretName(s) + " " + secretState(s) + confirmState(s)}
		switch {
		case w.State == daemon.StateNotAllowed:
			f.State, f.Mend, f.Text = partWarn, w.Hint, secretName(s)+": "+w.Why
		case code == 0, code == exitNotAllowed: // given, or after a yes
		case code == exitMissing && !w.Required:
			f.Text += ", and not required"
		case code == exitLocked:
			f.State, f.Mend, f.Text = partWarn, w.Hint, secretName(s)+" is locked"
		default:
			f.State, f.Mend, f.Text = partBroken, w.Hint, secretName(s)+": "+w.Why
		}
		found = append(found, f)
	}
	order := map[string]int{partOK: 0, partWarn: 1, partBroken: 2}
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(order[a.State], order[b.State]) })
	d.found = append(d.found, found...)
	if len(found) == 0 {
		d.ok(partSecret, "none is asked for")
	}
}

// checkApprovals tells which words of the person are no longer about what is there.
func (d *checkup) checkApprovals() {
	const part = "approvals"
	store, err := approvals()
	if err != nil {
		d.broken(part, "", "%s", err)
		return
	}
	if wrong, mend := private(store.Dir, "700"); wrong != "" {
		d.broken(part, mend, "%s", wrong)
	}
	words, err := store.All()
	if err != nil {
		d.broken(part, "", "%s", err)
		return
	}
	allowed, denied := 0, 0
	var stale []finding
	for _, w := range words {
		f := finding{Part: part, Subject: w.Root, State: partWarn, Mend: "rm " + shellWord(w.File)}
		root := worksite.Visible(w.Root)
		switch {
		case w.Err != nil:
			f.Subject, f.Text = w.File, "one does not count: "+w.Err.Error()
		case w.Gone:
			f.Text = root + " has no worksite any more"
		case w.Changed:
			f.Text, f.Mend = root+" has changed since it was approved", "keyrack allow "+shellWord(w.Root)
		}
		if f.Text != "" {
			stale = append(stale, f)
		}
		switch {
		case w.Denied:
			denied++
		case w.Err == nil:
			allowed++
		}
	}
	d.ok(part, "%d allowed, %d denied, %d out of date", allowed, denied, len(stale))
	d.found = append(d.found, stale...)
}

// clockSlack is how far two readings of clocks may lie apart.
const clockSlack = time.Second

// checkClock compares the wall clock with what keyrack wrote, and the clock that
// ends values with that of this process.
func (d *checkup) checkClock() {
	const part = "clock"
	ran := time.Since(d.began)
	now, err := ttlNow()
	switch step := now - d.ttlTime; {
	case err != nil:
		d.broken(part, "", "%s, by which values end, can't be read: %s", ttlClock, err)
		return
	case step < ran-clockSlack:
		d.broken(part, "", "%s, by which values end, went on by %s in %s", ttlClock, step, ran)
		return
	}
	newest, of := time.Time{}, ""
	for _, path := range []string{d.rack.File(), filepath.Join(d.rack.Dir, "approvals"), audit.Path(d.stateDir)} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(newest) {
			newest, of = info.ModTime(), path
		}
	}
	wall := time.Now()
	if newest.After(wall.Add(clockSlack)) {
		d.warn(part, "date", "the wall clock says %s, and %s is of %s: the log's times are wrong; values end on time all the same",
			wall.Format(time.DateTime), worksite.Visible(of), newest.Local().Format(time.DateTime))
		return
	}
	d.ok(part, "%s, by which values end, runs; the wall clock is after all that keyrack wrote", ttlClock)
}

// checkConfig reads the person's config as the daemon does.
func (d *checkup) checkConfig() {
	const part = "config"
	path := worksite.Visible(d.configFile)
	limit, err := daemon.MaxTTL(d.configFile)
	if err != nil {
		d.broken(part, mendFile(d.configFile, err), "%s", err)
		return
	}
	if _, err := os.Stat(d.configFile); errors.Is(err, fs.ErrNotExist) {
		d.ok(part, "none at %s: max_ttl is %s", path, short(int64(limit.Seconds())))
		return
	}
	d.ok(part, "%s is valid: max_ttl is %s", path, short(int64(limit.Seconds())))
}

// configStrict says whether the config, which is valid, has strict = true.
func configStrict(path string) bool {
	var config struct {
		Strict bool `toml:"strict"`
	}
	_, err := toml.DecodeFile(path, &config)
	return err == nil && config.Strict
}
