// Package worksite is the .keyrack.toml of a directory: it finds, reads and
// checks the file, and keeps the person's word on it. It knows no value of a
// secret, asks no source and does not know who wants to know.
package worksite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// FileName is the file that makes a directory the root of a worksite.
const FileName = ".keyrack.toml"

// The two values of Site.Export.
const (
	ExportCommand = "command" // exported while a command runs
	ExportTree    = "tree"    // exported for as long as the shell is inside
)

// The values of Secret.As: what the command has in its environment, the value or the
// path of a file, which is a descriptor that it inherits, or has a name for as long as
// it runs.
const (
	AsEnv     = "env"
	AsFile    = "file"
	AsTmpfile = "tmpfile"
)

// The values of Secret.Confirm: whether a person must say yes before the value is
// given, once a session or each time.
const (
	ConfirmNever   = "never"
	ConfirmSession = "session"
	ConfirmAlways  = "always"
)

// Digest is the SHA-256 of the exact bytes that were parsed.
type Digest [32]byte

// Find returns the nearest directory, dir or above it, that has a FileName, ""
// where there is none. dir is absolute. What the name stands for is Read's
// business: a directory of that name is found too, and then refused. A symbolic
// link that leads nowhere is no file, here as in the shells' hooks.
func Find(dir string) string {
	for filepath.IsAbs(dir) {
		if _, err := os.Stat(filepath.Join(dir, FileName)); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return ""
}

// Site is one state of one worksite's file. It is not changed after Read.
type Site struct {
	Root     string // as it was given to Read
	Name     string
	TTL      time.Duration // 0 where the file doesn't say
	Export   string        // ExportCommand or ExportTree
	Secrets  []Secret      // in the order of the file
	Profiles []Profile     // in the order of the file
	Helpers  []Helper      // in the order of the file
	Digest   Digest

	dir     string // Root without symbolic links, to which an approval is bound
	raw     []byte // what Digest is of
	text    string // raw without a byte order mark, to which offsets refer
	ttlAt   int    // offset of the ttl's value
	unbuilt []fault
}

// Secret is what a worksite asks for under one name.
type Secret struct {
	Name        string
	From        []string      // sources in the order to try, at least one; "" is the rack
	TTL         time.Duration // 0: the worksite's
	For         []string      // prefixes of commands; nil is every command, empty is none
	As          string        // AsEnv, AsFile or AsTmpfile
	Env         string        // "" where the file doesn't say: see Variable
	Required    bool
	Confirm     string  // ConfirmNever, ConfirmSession or ConfirmAlways
	Default     *string // nil for none
	Description string

	variableAt int // offset of what names the variable
	ttlAt      int
}

// Profile is an overlay of secrets.
type Profile struct {
	Name    string
	Secrets []Secret
}

// Variable is the name of the environment variable that gets the value, or the
// path of its file.
func (s Secret) Variable() string {
	if s.Env != "" {
		return s.Env
	}
	return s.Name
}

// Variables names those in the environment of who asks that its sources are.
func (s Secret) Variables() []string {
	names := []string{}
	for _, text := range s.From {
		if source, err := ParseSource(text); err == nil && source.Scheme == EnvScheme {
			names = append(names, source.Path)
		}
	}
	return names
}

// Unbuilt returns an *Error for the first use of what the contract has and this
// version has not, nil where there is none.
func (s *Site) Unbuilt() error {
	if len(s.unbuilt) == 0 {
		return nil
	}
	return s.locate(slices.MinFunc(s.unbuilt, func(a, b fault) int { return a.at - b.at }))
}

// CheckTTL returns an *Error for the first ttl of the file that is over limit.
func (s *Site) CheckTTL(limit time.Duration) error {
	over := func(ttl time.Duration, at int) error {
		return s.locate(fault{at, fmt.Sprintf("ttl of %s is over max_ttl, %s", span(ttl), span(limit))})
	}
	first, at := s.TTL, s.ttlAt
	if first <= limit {
		first = 0
	}
	for _, secret := range s.Secrets {
		if secret.TTL > limit && (first == 0 || secret.ttlAt < at) {
			first, at = secret.TTL, secret.ttlAt
		}
	}
	if first == 0 {
		return nil
	}
	return over(first, at)
}

// span writes a duration without the zeros that time.Duration ends in.
func span(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Error is what is wrong with a worksite's file. It quotes names, never values.
type Error struct {
	Path      string
	Line, Col int // from 1, Col in characters; 0 where the file as a whole is wrong
	Text      string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return Visible(e.Path) + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", Visible(e.Path), e.Line, e.Col, e.Text)
}

// fault is an error at an offset of the text.
type fault struct {
	at   int
	text string
}

func (f fault) Error() string { return f.text }

// locate makes the error that people see of a fault.
func (s *Site) locate(f fault) error { return located(filepath.Join(s.Root, FileName), s.text, f) }

func located(path, text string, f fault) error {
	before := text[:min(max(f.at, 0), len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return &Error{
		Path: path,
		Line: 1 + strings.Count(before, "\n"),
		Col:  1 + utf8.RuneCountInString(before[start:]),
		Text: f.text,
	}
}
