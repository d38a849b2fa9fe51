package wire

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// The modes of a grant, as `export` says in the worksite's file. A grant that
// gives nothing because there is no worksite that can be read has the mode "".
const (
	ModeCommand = "command"
	ModeTree    = "tree"
)

// Grant is the answer to the verbs hook and grant, whatever its status: what to
// export and what to say. Lines are for people, without a prefix; a hint is a
// line of its own. Summary is the one line for entering the worksite. Commands are
// the names, parted by blanks, of those that a shell starts by way of `keyrack exec`.
type Grant struct {
	Status     string
	Generation string
	Mode       string
	Summary    string
	Commands   string
	Lines      []string
	Vars       []Var
}

// Var is one environment variable. Names are the daemon's word: who puts them
// into a shell checks them.
type Var struct {
	Name  string
	Value []byte
}

// ErrGrant says that fields are no grant.
var ErrGrant = errors.New("the daemon sent a malformed grant")

// fixedFields are status, generation, mode, summary, commands and the number of lines.
const fixedFields = 6

// Fields are the grant as the fields of an answer. Values are not copied.
func (g *Grant) Fields() [][]byte {
	fields := make([][]byte, 0, fixedFields+len(g.Lines)+2*len(g.Vars))
	fields = append(fields, []byte(g.Status), []byte(g.Generation), []byte(g.Mode),
		[]byte(clean(g.Summary)), []byte(g.Commands), strconv.AppendInt(nil, int64(len(g.Lines)), 10))
	for _, line := range g.Lines {
		fields = append(fields, []byte(clean(line)))
	}
	for _, v := range g.Vars {
		fields = append(fields, []byte(v.Name), v.Value)
	}
	return fields
}

// ParseGrant reads an answer, as Call returns it, to hook or grant. Values share
// the memory of fields. An answer of the short form (status, message, hint),
// which a daemon gives to a request that it can't read, becomes a grant without
// variables.
func ParseGrant(fields [][]byte) (*Grant, error) {
	if len(fields) == 3 && string(fields[0]) != OK && len(fields[0]) > 0 {
		g := &Grant{Status: string(fields[0]), Lines: []string{string(fields[1])}}
		if len(fields[2]) > 0 {
			g.Lines = append(g.Lines, string(fields[2]))
		}
		return g, nil
	}
	if len(fields) < fixedFields {
		return nil, ErrGrant
	}
	g := &Grant{Status: string(fields[0]), Generation: string(fields[1]),
		Mode: string(fields[2]), Summary: string(fields[3]), Commands: string(fields[4])}
	n, err := strconv.Atoi(string(fields[5]))
	rest := fields[fixedFields:]
	switch {
	case g.Status == "", g.Mode != "" && g.Mode != ModeCommand && g.Mode != ModeTree:
		return nil, ErrGrant
	case err != nil, n < 0, n > len(rest), (len(rest)-n)%2 != 0, strconv.Itoa(n) != string(fields[5]):
		return nil, ErrGrant
	}
	for _, line := range rest[:n] {
		g.Lines = append(g.Lines, string(line))
	}
	for pairs := rest[n:]; len(pairs) > 0; pairs = pairs[2:] {
		if len(pairs[0]) == 0 {
			return nil, ErrGrant
		}
		g.Vars = append(g.Vars, Var{Name: string(pairs[0]), Value: pairs[1]})
	}
	return g, nil
}

// Own stands before the name of a variable whose value is in the environment of who
// asked, under the name that stands in its place.
const Own = "env:"

// TakeOwn puts the values of the caller's own variables where their names stand.
func (g *Grant) TakeOwn() {
	for i, v := range g.Vars {
		if name, own := strings.CutPrefix(v.Name, Own); own {
			g.Vars[i] = Var{name, []byte(os.Getenv(string(v.Value)))}
		}
	}
}

// Wipe zeroes the values.
func (g *Grant) Wipe() {
	for _, v := range g.Vars {
		clear(v.Value)
	}
}
