// Package audit is the log of who was given what: one line of JSON for each grant
// and for each act that changes what may be given. A line says when, what, for
// which worksite, under which names, and to which process. It has no field that
// could hold a value, and no caller passes one.
//
// The log is for the person whose secrets they are, not evidence against them:
// what runs as the same user may change the file.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// The events of a log. Refused is a grant, or what Verb names, that was not given;
// Stop is how a daemon ends that was not killed.
const (
	Grant   = "grant"
	Refused = "refused"
	Get     = "get"
	Set     = "set"
	Remove  = "rm"
	Lock    = "lock"
	Unlock  = "unlock"
	Allow   = "allow"
	Deny    = "deny"
	Start   = "start"
	Stop    = "stop"
)

// Events are all of them.
func Events() []string {
	return []string{Grant, Refused, Get, Set, Remove, Lock, Unlock, Allow, Deny, Start, Stop}
}

// Entry is one line. Verb and Status say what was refused and why, in the words of
// the protocol; Status also says that a grant was not all that was asked for.
// Cause is why the daemon locked by itself. Names are those of secrets. Dropped is
// how many lines before this one could not be written.
type Entry struct {
	Time   time.Time `json:"time"`
	Event  string    `json:"event"`
	Verb   string    `json:"verb,omitempty"`
	Status string    `json:"status,omitempty"`
	Cause  string    `json:"cause,omitempty"`
	Site   string    `json:"site,omitempty"`
	Root   string    `json:"root,omitempty"`
	Names  []string  `json:"names,omitempty"`
	More   int       `json:"more,omitempty"` // names that there was no room for
	Process
	Dropped uint64 `json:"dropped,omitempty"`
}

// Process is who asked, as far as the system tells: Exe is the program's path,
// Command the name of the command, Parent and ParentPID who started it, UID its
// user and Session its login session where there is one. Client is the process
// that asked for it, where that is another one.
type Process struct {
	PID       int    `json:"pid,omitempty"`
	Exe       string `json:"exe,omitempty"`
	Command   string `json:"command,omitempty"`
	TTY       string `json:"tty,omitempty"`
	ParentPID int    `json:"ppid,omitempty"`
	Parent    string `json:"parent,omitempty"`
	Client    int    `json:"client,omitempty"`
	UID       int    `json:"uid"`
	Session   string `json:"session,omitempty"`
}

// Bounds of a line, in bytes.
const (
	maxText  = 4 << 10  // of any one text
	maxNames = 16 << 10 // of all names
	maxLine  = 64 << 10 // of what is taken for a line when the log is read
)

// line is e as it stands in the file.
func (e Entry) line() []byte {
	for _, text := range []*string{&e.Event, &e.Verb, &e.Status, &e.Cause, &e.Site, &e.Root, &e.Exe, &e.Command, &e.TTY, &e.Parent, &e.Session} {
		*text = bounded(*text)
	}
	size := 0
	for i, name := range e.Names {
		if size += len(name) + 3; size > maxNames {
			e.Names, e.More = e.Names[:i:i], len(e.Names)-i
			break
		}
	}
	e.Time = e.Time.UTC().Truncate(time.Millisecond)
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		panic("audit: " + err.Error()) // a year over 9999; nothing else can fail
	}
	return text.Bytes()
}

// bounded cuts a text that is too long, and makes it valid UTF-8.
func bounded(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return text
}

// errDamaged says that a line is not one that this package wrote.
var errDamaged = errors.New("not a line of the audit log")

// parse reads one line. Keys that it does not know are of a later version.
func parse(line []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil || e.Event == "" || e.Time.IsZero() {
		return Entry{}, errDamaged
	}
	return e, nil
}
