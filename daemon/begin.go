package daemon

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"keyrack/daemon/harden"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
)

// Self is the path from which the daemon starts children of its own program. On
// Linux they are as unreadable as it is itself, from their first instruction on.
// One that holds a value calls harden.Mute, for what it says when it crashes.
func Self() string { return harden.Self() }

// begin makes this process the daemon proper, or starts that and says that this
// process has nothing left to do. A daemon that wire.Start spawned becomes a child
// of nobody's, so that a program which takes the place of the client, as `keyrack
// exec` lets it, never waits for a daemon; one that was started by hand, or by an
// init system, keeps its process id.
func begin(o *Options, report *report) (left bool, err error) {
	state, err := harden.Close()
	if err != nil {
		return false, err
	}
	// Nothing is created that others may open, and nothing stays of the directory and
	// environment of whoever happened to start it.
	unix.Umask(0o077)
	if err := os.Chdir("/"); err != nil {
		return false, err
	}
	environ := wire.CleanEnvironment(os.Environ())
	if state.First {
		if o.Program == "" {
			o.Program = state.Program
		}
		var files []*os.File
		if report.pipe != nil {
			files = []*os.File{os.Stdin, os.Stdout, os.Stderr, report.pipe}
			environ = append(environ, fmt.Sprintf("%s=%d", wire.ReadyVariable, readyFD))
		} else {
			environ = append(environ, listenVariables()...)
		}
		return true, harden.Again(o.Program, os.Args, environ, files)
	}
	o.Program, o.keyring = state.Program, cmp.Or(state.Keyring, "this process has no keyring of its own")
	if o.socket, err = givenSocket(); err != nil {
		return false, err
	}
	if err := setEnvironment(append(environ, "GOTRACEBACK=none")); err != nil {
		return false, err
	}
	if o.runner, err = source.StartRunner(Self(), environ); err != nil {
		return false, err
	}
	o.weak = append(state.Weak, harden.Filter()...)
	return false, nil
}

func setEnvironment(environ []string) error {
	os.Clearenv()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// refuseWeak is an error where the person's config is strict and something is not
// in force.
func (c *Cache) refuseWeak() error {
	limits, err := c.config.read()
	if err != nil { // it is an error for who asks for a grant
		return nil
	}
	c.limitIdle(limits.idle)
	return c.strictly(limits)
}

func (c *Cache) strictly(l limits) error {
	if !l.strict {
		return nil
	}
	weak := slices.Concat(c.auditWeak(), c.weak, c.sealWeak())
	if len(weak) == 0 {
		return nil
	}
	return &wire.Error{Status: wire.Unavailable, Message: refusedByStrict + strings.Join(weak, "; ")}
}

const refusedByStrict = "refused by strict = true, because not in force: "

// limits are those in force now.
func (c *Cache) limits() (limits, error) {
	l, err := c.config.read()
	if err == nil {
		c.limitIdle(l.idle)
		err = c.strictly(l)
	}
	return l, err
}
