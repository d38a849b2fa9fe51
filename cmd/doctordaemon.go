package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"keyrack/daemon"
	"keyrack/daemon/audit"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// checkDaemon tells of the daemon that newCheckup met or started. Owner and mode of
// the socket and of its directory were checked on the way.
func (d *checkup) checkDaemon() {
	const part = "daemon"
	if d.status == nil {
		d.broken(part, mendOf(d.problem), "%s", d.problem)
		return
	}
	is := d.status.Daemon
	where := fmt.Sprintf("%s, which no other user can open", worksite.Visible(d.place.Socket))
	switch {
	case is.Version != version():
		d.warn(part, "keyrack daemon stop", "pid %d is %s, and this is %s; the next command starts one like this:", is.PID, is.Version, version())
	case is.Started.After(d.began):
		d.ok(part, "started now, as pid %d; answers at %s", is.PID, where)
	default:
		d.ok(part, "runs as pid %d; answers at %s", is.PID, where)
	}
}

// checkScope tells who shares the daemon, or would.
func (d *checkup) checkScope() {
	scope := d.place.Scope
	if d.status != nil {
		scope = d.status.Daemon.Scope
	}
	d.ok("scope", "%s", scope)
}

// checkMemory tells where values are, and what does not protect them.
func (d *checkup) checkMemory() {
	if d.status == nil {
		return
	}
	d.ok("memory", "values are in: %s", d.status.Daemon.Memory)
	const part = "protection"
	strict := configStrict(d.configFile)
	for _, weak := range d.status.Daemon.Weak {
		d.warn(part, "", "not in force: %s (strict = %t)", weak, strict)
	}
	if len(d.status.Daemon.Weak) == 0 {
		d.ok(part, "all of it is in force (strict = %t)", strict)
	}
}

// checkLog finds out whether the audit log takes lines.
func (d *checkup) checkLog() {
	const part = "log"
	path := audit.Path(d.stateDir)
	var said daemon.Audit
	if d.status != nil {
		said = d.status.Daemon.Audit
	}
	for _, p := range [][2]string{{d.stateDir, "700"}, {path, "600"}} {
		if wrong, mend := private(p[0], p[1]); wrong != "" {
			d.broken(part, mend, "takes no lines: %s", wrong)
			return
		}
	}
	made, err := appendable(path)
	switch {
	case err != nil:
		d.broken(part, "", "takes no lines: %s", err)
	case said.Dropped > 0:
		d.warn(part, "", "%s", auditLine(said))
	case !made:
		d.ok(part, "%s will be made with the next line", worksite.Visible(path))
	case said.Problem != "":
		d.warn(part, "", "the last lines were not written: %s", said.Problem)
	default:
		d.ok(part, "%s takes lines", worksite.Visible(path))
	}
}

// appendable says whether the file at path is there, and why nothing can be appended
// to it, or it can't be made.
func appendable(path string) (there bool, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == nil {
		return true, file.Close()
	}
	for errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		err = unix.Access(path, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		err = fmt.Errorf("%s: %s", worksite.Visible(path), reason(err))
	}
	return false, err
}

// checkRack looks at the rack's files and has the daemon open it, with a key that it
// gets for that alone where the lock answers by itself.
func (d *checkup) checkRack(ctx context.Context) {
	const part = "rack"
	kind, err := d.rack.Kind()
	switch {
	case err != nil:
		d.broken(part, "", "%s", err)
		return
	case kind == "":
		d.warn(part, "keyrack rack create", "there is none yet; it would be %s", worksite.Visible(d.rack.File()))
		return
	}
	opened := d.rackFiles(kind) && d.openRack(ctx, kind)
	if kind == source.Keyring {
		d.checkKeyring(ctx, opened)
	}
}

// rackFiles checks who may read the rack's files, and says whether its key can be used.
func (d *checkup) rackFiles(kind string) bool {
	const part = "rack"
	for _, p := range [][2]string{{d.rack.Dir, "700"}, {d.rack.File(), "600"}} {
		if wrong, mend := private(p[0], p[1]); wrong != "" {
			d.warn(part, mend, "%s", wrong)
		}
	}
	key := d.rack.KeyFile(kind)
	if key == "" {
		return true
	}
	if _, err := os.Stat(key); err != nil {
		d.broken(part, "", "its key can't be used: %s", err)
		return false
	}
	wrong, mend := private(key, "600")
	if wrong != "" {
		d.broken(part, mend, "its key may be known: %s", wrong)
	}
	return wrong == ""
}

// openRack says whether the rack could be opened now.
func (d *checkup) openRack(ctx context.Context, kind string) bool {
	const part = "rack"
	where := fmt.Sprintf("%s (lock: %s)", worksite.Visible(d.rack.File()), kind)
	if d.client == nil {
		d.warn(part, "", "%s was not opened: there is no daemon for it", where)
		return false
	}
	items, err := d.client.List(ctx, "")
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Status == wire.Locked {
		d.warn(part, e.Hint, "%s is locked", where)
		return false
	}
	if err != nil {
		d.broken(part, mendOf(err), "%s", err)
		return false
	}
	d.ok(part, "%s opens; it holds %s", where, values(len(items)))
	return true
}

// checkKeyring tells how the OS keyring stands that has the rack's key: opened says
// that the key came.
func (d *checkup) checkKeyring(ctx context.Context, opened bool) {
	const part = "keyring"
	err := source.KeyringReachable(ctx, self())
	switch {
	case opened && err == nil:
		d.ok(part, "answers, and gives the rack's key (%s)", source.KeyringItem)
	case opened:
		d.warn(part, "", "gives the daemon the rack's key, but can't be reached from here: %s", err)
	case err != nil:
		d.broken(part, "", "%s", err)
	case d.status != nil && d.status.Locked:
		d.ok(part, "answers; it is not asked for the rack's key while keyrack is locked")
	default:
		d.warn(part, "", "answers, but the rack was not opened")
	}
}
