// Package audit is the log of who was given what: one line of JSON for each grant
// and for each act that changes what may be given. A line says when, what, for
// which worksite, under which names, and to which process. It has no field that
// could hold a value, and no caller passes one.
//
// The log is for the person whose secrets they are, not evidence against them:
// what runs as the same user may change the file.
package audit

import (
	"encoding/json"
	"errors"
	"strconv"
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

// appendTo appends e as it stands in the file: its fields in their order, without
// those that say nothing, and a newline. encoding/json reads it; it would take ten
// times as long to write it.
func (e *Entry) appendTo(line []byte) []byte {
	line = append(line, `{"time":"`...)
	line = e.Time.UTC().AppendFormat(line, "2006-01-02T15:04:05.000Z07:00")
	line = append(line, '"')
	line = appendField(line, "event", e.Event)
	line = appendField(line, "verb", e.Verb)
	line = appendField(line, "status", e.Status)
	line = appendField(line, "cause", e.Cause)
	line = appendField(line, "site", e.Site)
	line = appendField(line, "root", e.Root)
	line = e.appendNames(line)
	line = appendNumber(line, "pid", int64(e.PID))
	line = appendField(line, "exe", e.Exe)
	line = appendField(line, "command", e.Command)
	line = appendField(line, "tty", e.TTY)
	line = appendNumber(line, "ppid", int64(e.ParentPID))
	line = appendField(line, "parent", e.Parent)
	line = appendNumber(line, "client", int64(e.Client))
	line = strconv.AppendInt(append(line, `,"uid":`...), int64(e.UID), 10)
	line = appendField(line, "session", e.Session)
	line = appendNumber(line, "dropped", int64(e.Dropped))
	return append(line, "}\n"...)
}

// appendNames appends the names for which there is room, and how many there are
// besides.
func (e *Entry) appendNames(line []byte) []byte {
	size, more := 0, e.More
	for i, name := range e.Names {
		if size += len(name) + 3; size > maxNames {
			more += len(e.Names) - i
			break
		}
		if i == 0 {
			line = append(line, `,"names":[`...)
		} else {
			line = append(line, ',')
		}
		line = appendText(line, name)
	}
	if size > 0 && more < len(e.Names)+e.More {
		line = append(line, ']')
	}
	return appendNumber(line, "more", int64(more))
}

func appendField(line []byte, key, text string) []byte {
	if text == "" {
		return line
	}
	line = append(append(append(line, `,"`...), key...), `":`...)
	return appendText(line, text)
}

func appendNumber(line []byte, key string, n int64) []byte {
	if n == 0 {
		return line
	}
	line = append(append(append(line, `,"`...), key...), `":`...)
	return strconv.AppendInt(line, n, 10)
}

// appendText appends a JSON string: cut where it is too long, and valid UTF-8.
func appendText(line []byte, text string) []byte {
	const hex = "0123456789abcdef"
	line = append(line, '"')
	for i, r := range text {
		switch {
		case i >= maxText:
			return append(line, `…"`...)
		case r == '"' || r == '\\':
			line = append(line, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			line = append(line, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			line = utf8.AppendRune(line, r)
		}
	}
	return append(line, '"')
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
