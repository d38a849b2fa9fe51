// Package daemon is the session's cache of secrets: what it holds and until
// when, and both ends of the socket over which shells and commands ask it. The
// Agent interface has two implementations, Cache in process and Client over the
// socket, which behave the same.
//
// It decides who may have what: approval, time to live and `keyrack lock` are
// checked here on every request. It does not know where a value comes from (that
// is package source), what a worksite's file means (package worksite), nor what a
// shell does with an answer.
package daemon

import (
	"context"
	"time"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// Agent answers for one login session. Every error is a *wire.Error. Methods may
// be called at the same time.
type Agent interface {
	// Grant gives what the worksite at q.Root is allowed, and what to say about it.
	// It has no error of its own where the worksite is at fault: then the grant's
	// status says so, and its variables are those that could be had. The caller
	// wipes the grant.
	Grant(ctx context.Context, q Query) (*wire.Grant, error)

	// Question opens the question that must be answered before Grant gives what needs
	// a person's yes, and Answer closes it: with yes its grant is what Grant gives,
	// and what needs a yes each time is in it this once. A question is good for the
	// process that asked, once.
	Question(ctx context.Context, q Query) (*Question, error)
	Answer(ctx context.Context, token string, yes bool) (*wire.Grant, error)

	// Status tells how the worksite at root and its secrets stand, "" for the
	// daemon alone. It asks no source for a value and extends nothing.
	Status(ctx context.Context, root string) (*Status, error)

	// Get, Set, Remove and List work on the rack, under a worksite's name; they
	// need no approval. The caller wipes what Get returns. List with site "" lists
	// every site; items are sorted.
	Get(ctx context.Context, site, name string) ([]byte, error)
	Set(ctx context.Context, site, name string, value []byte) error
	Remove(ctx context.Context, site, name string) error
	List(ctx context.Context, site string) ([]Item, error)

	// Lock wipes every value and the rack's key; until Unlock nothing is handed
	// out, also by a daemon started later.
	Lock(ctx context.Context) error

	// Unlock ends Lock. key is the rack's identity, nil for the lock kinds that
	// answer by themselves; it is kept for ttl, 0 for DefaultTTL. The caller wipes
	// its own copy.
	Unlock(ctx context.Context, key []byte, ttl time.Duration) error

	// Touch tells the shells that an approval has changed.
	Touch(ctx context.Context) error
}

// DefaultTTL is how long a value, and the rack's key, stay where nobody says how
// long.
const DefaultTTL = 8 * time.Hour

// Query asks for the grant of the worksite whose root directory is Root. Shell is
// the pid of a shell that wants to hear, by SIGURG, when a value that it exports
// for as long as it is inside ends; 0 for none. What waits for a person's yes is
// left out for a shell, whose hook can't ask; for others the grant is then
// Unconfirmed and gives nothing. Command is the name of the command that gets it,
// for the audit log, "" where it is not known. Want names the secrets with a "for",
// or as a file, that the command may have, which the others never get: who asks knows what it is
// about to start. Only, where it is not zero, is the state of the worksite's file from
// which Want was taken: then what Want names is given, with a "for" or without, and
// nothing else, and nothing at all where the file is another one now. Has names the
// variables that who asks has in its environment, of those that sources name; it
// takes their values from there itself.
type Query struct {
	Root    string
	Shell   int
	Command string
	Want    []string
	Only    worksite.Digest
	Has     []string

	with *assent
	by   *peer // who asks over the socket
	held bool  // only what is held: nothing is fetched, and nobody waits

	watch lookout
}

// Item names one value in the rack.
type Item struct {
	Site string `json:"site"`
	Name string `json:"name"`
}

// Status is how things stand, without a value. Rack is the kind of the rack's
// lock, "" where there is no rack. State is "" outside every worksite; Why and
// Hint say in words what keeps it from being StateOK, and the command that mends
// it.
type Status struct {
	Daemon      DaemonStatus   `json:"daemon"`
	Locked      bool           `json:"locked"`
	Rack        string         `json:"rack"`
	RackKeyLeft int64          `json:"rack_key_left"`
	Root        string         `json:"root"`
	Site        string         `json:"site"`
	State       string         `json:"state"`
	Why         string         `json:"why"`
	Hint        string         `json:"hint"`
	Export      string         `json:"export"`
	Secrets     []SecretStatus `json:"secrets"`
}

// DaemonStatus describes the process that answers. Memory names the kind of
// memory that holds values, Scope who shares it, LocksOn what locks it besides
// `keyrack lock`, Program its file (its process runs a copy), Weak what is not in
// force that should be.
type DaemonStatus struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Scope   string    `json:"scope"`
	Memory  string    `json:"memory"`
	LocksOn []string  `json:"locks_on"`
	Program string    `json:"program"`
	Weak    []string  `json:"not_in_force"`
	Audit   Audit     `json:"audit"`
}

// SecretStatus is how one secret of a worksite stands. LeftSeconds counts while
// the value is held. Confirmed says that the yes which Confirm asks for is there. For
// are the commands that it is for: nil is every one, empty keyrack exec and helpers alone. As is
// how the command has it; what is a file no shell has. Variables are those that its
// sources name in the environment of who asks. Login is the command that logs in to
// the source, where nobody is.
type SecretStatus struct {
	Name        string   `json:"name"`
	Env         string   `json:"env"`
	Source      string   `json:"source"`
	Held        bool     `json:"held"`
	LeftSeconds int64    `json:"left_seconds"`
	TTLSeconds  int64    `json:"ttl_seconds"`
	State       string   `json:"state"`
	Why         string   `json:"why"`
	Confirm     string   `json:"confirm"`
	Confirmed   bool     `json:"confirmed"`
	For         []string `json:"for"`
	As          string   `json:"as"`
	Variables   []string `json:"variables"`
	Login       string   `json:"login"`
}

// The states of a worksite.
const (
	StateOK         = "ok"
	StateNotAllowed = "not-allowed"
	StateDenied     = "denied"
	StateInvalid    = "invalid"
	StateLocked     = "locked"
	StateMissing    = "missing"
)

// The further states of a secret, besides StateLocked, StateMissing and, of one whose
// command is not the one that was allowed, StateNotAllowed.
const (
	StateHeld      = "held"
	StateAvailable = "available"
	StateDefault   = "default"
	StateUnasked   = "unasked" // no source of it has been asked

	StateEnvironment = "environment" // nothing but a variable of who asks has it, if that is there
)
