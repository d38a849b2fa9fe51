// Package hook decides what one answer of the daemon changes in a shell or in
// the environment of a command. It is pure: it reads no file, talks to no
// daemon and writes nothing. How a change is put into a shell's language is
// package shells' business.
package hook

import (
	"errors"
	"strings"

	"keyrack/daemon/wire"
	"keyrack/shells"
)

// Marker is the variable in which a shell exports the names, never the values,
// of what it exports for the moment: a version, then the names, each after a
// blank.
const Marker = "KEYRACK_EXPORTED"

// Change is what the answer g does to a shell, or err, the reason why there is
// none. A name that no variable may have is left out, and said. Values share
// g's memory.
func Change(g *wire.Grant, err error) shells.Change {
	if err != nil {
		return refusal(err)
	}
	c := shells.Change{Status: g.Status, Generation: g.Generation, Mode: g.Mode, Summary: g.Summary, Commands: g.Commands, Say: g.Lines}
	refused := 0
	for _, v := range g.Vars {
		if !shells.ValidName(v.Name) {
			refused++
			continue
		}
		c.Put = append(c.Put, shells.Var{Name: v.Name, Value: v.Value})
	}
	if refused > 0 {
		c.Say = append(c.Say, "refused what the daemon sent under names that may never be exported: keyrack daemon stop")
	}
	return c
}

// refusal is the change of an error: nothing is exported, one line is said.
func refusal(err error) shells.Change {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		return shells.Change{Status: wire.Unavailable, Say: []string{err.Error()}}
	}
	return shells.Change{Status: e.Status, Say: []string{Line(e.Message, e.Hint)}}
}

// Line is a message with the command that mends it, if there is one.
func Line(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + ": " + hint
}

// Environ is the environment of a command that gets vars: environ without what
// a shell exports for the moment, with vars in place of variables of the same
// name. environ stays as it is.
func Environ(environ []string, vars []shells.Var) []string {
	drop := map[string]bool{Marker: true}
	for _, entry := range environ {
		if names, ok := strings.CutPrefix(entry, Marker+"="); ok {
			for _, name := range strings.Fields(names) {
				drop[name] = true
			}
		}
	}
	for _, v := range vars {
		drop[v.Name] = true
	}
	var result []string
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); !drop[name] {
			result = append(result, entry)
		}
	}
	for _, v := range vars {
		result = append(result, v.Name+"="+string(v.Value))
	}
	return result
}
