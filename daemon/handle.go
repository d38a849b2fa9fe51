package daemon

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

func failed(message string) *wire.Error {
	return &wire.Error{Status: wire.Failed, Message: message}
}

// asError makes any error one for the wire.
func asError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return failed(err.Error())
}

// verb is one row of what the daemon answers. args is the number of arguments.
type verb struct {
	args   int
	answer func(s *server, ctx context.Context, args [][]byte) ([][]byte, error)
}

// verbs are all but hook, grant, answer and get, whose answers hold values,
// question, whose answer depends on who asks, and stop and ping, which every
// version answers. No answer of theirs holds one.
var verbs = map[string]verb{
	wire.VerbStatus: {1, (*server).status},
	wire.VerbSet:    {3, (*server).set},
	wire.VerbRemove: {2, (*server).remove},
	wire.VerbList:   {1, (*server).list},
	wire.VerbLock:   {0, (*server).lock},
	wire.VerbUnlock: {2, (*server).unlock},
	wire.VerbTouch:  {0, (*server).touch},
}

// answer answers one request, from the protocol version on.
func (s *server) answer(ctx context.Context, conn *connection, from *peer, request [][]byte) {
	if len(request) < 2 {
		s.write(conn, failed("malformed request").Fields())
		return
	}
	version, name, args := string(request[0]), string(request[1]), request[2:]
	if name != wire.VerbHook && name != wire.VerbGrant { // they change nothing, and look at the peer when their answer is ready
		if err := s.certain(conn, from); err != nil {
			s.write(conn, asError(err).Fields())
			return
		}
	}
	switch {
	case name == wire.VerbPing:
		s.write(conn, fields(wire.OK, strconv.Itoa(os.Getpid()), Version))
	case name == wire.VerbStop:
		s.write(conn, fields(wire.OK))
		s.stop()
	case version != wire.Version:
		s.write(conn, (&wire.Error{Status: wire.BadVersion, Message: "this daemon speaks another version of the protocol"}).Fields())
	case name == wire.VerbHook && len(args) == 2:
		s.grant(ctx, conn, from, query(args, from.pid))
	case name == wire.VerbGrant && len(args) >= 1 && len(args) <= 5:
		s.grant(ctx, conn, from, Query{Root: string(args[0]), Command: optional(args, 1), Want: strings.Fields(optional(args, 2)), Only: digest(optional(args, 3)), Has: strings.Fields(optional(args, 4))})
	case name == wire.VerbGet && len(args) == 2:
		s.get(ctx, conn, from, args)
	case name == wire.VerbQuestion && len(args) >= 1 && len(args) <= 4:
		s.question(ctx, conn, from, Query{Root: string(args[0]), Want: strings.Fields(optional(args, 1)), Only: digest(optional(args, 2)), Has: strings.Fields(optional(args, 3))})
	case name == wire.VerbAnswer && (len(args) == 2 || len(args) == 3):
		s.redeem(ctx, conn, from, string(args[0]), string(args[1]), optional(args, 2))
	default:
		s.plain(ctx, conn, from, name, args)
	}
}

// plain answers the verbs of the table.
func (s *server) plain(ctx context.Context, conn *connection, from *peer, name string, args [][]byte) {
	row, known := verbs[name]
	if !known || len(args) != row.args {
		s.write(conn, failed("malformed request").Fields())
		return
	}
	answer, err := row.answer(s, ctx, args)
	if err == nil {
		err = from.same()
	}
	s.logRequest(from, name, args, err)
	if err != nil {
		s.write(conn, asError(err).Fields())
		return
	}
	s.write(conn, append(fields(wire.OK), answer...))
}

// optional is an argument that older clients do not send.
func optional(args [][]byte, i int) string {
	if i < len(args) {
		return string(args[i])
	}
	return ""
}

// digestText is a digest in a request, "" for none.
func digestText(d worksite.Digest) string {
	if (d == worksite.Digest{}) {
		return ""
	}
	return hex.EncodeToString(d[:])
}

// digest reads digestText. What is malformed is the digest of no file that anybody has.
func digest(text string) (d worksite.Digest) {
	if text == "" {
		return d
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(d) {
		return worksite.Digest{1}
	}
	return worksite.Digest(raw)
}

// query is what hook asks. The shell is the peer where it names no other.
func query(args [][]byte, peer int) Query {
	q := Query{Root: string(args[0]), Shell: peer}
	if len(args[1]) > 0 {
		q.Shell, _ = strconv.Atoi(string(args[1])) // a bad pid is no shell
	}
	return q
}

// errOvertaken says that an answer became wrong before it was sent.
var errOvertaken error = failed(changedTooFast)

// grant answers hook and grant. Whether the answer still stands is looked at once
// more just before it is written: time passes in between, and a process that was
// stopped meanwhile gives none of it out.
func (s *server) grant(ctx context.Context, conn *connection, from *peer, q Query) {
	who := s.who(from, q)
	q.by, q.watch = from, conn.watch
	for range 3 {
		f, t := s.cache.prepare(ctx, q)
		if conn.shell != "" {
			f = s.asCode(f, conn)
		}
		if f.bytes == nil {
			break
		}
		logged := false
		err := s.send(conn, f, func() error {
			if err := s.known.same(from); err != nil {
				return err
			}
			if !s.cache.valid(t) {
				return errOvertaken
			}
			if !logged { // waits for nothing
				logged = true
				s.logGrant(who, q, t.given)
			}
			return nil
		})
		s.cache.free(f)
		switch err {
		case nil:
			return
		case errForgotten:
			if conn.shell != "" {
				s.write(conn, nil)
			}
			return
		case errOvertaken:
			continue
		}
		s.logRefused(from, wire.VerbGrant, err)
		s.write(conn, asError(err).Fields())
		return
	}
	s.write(conn, (&wire.Grant{Status: wire.Failed, Lines: []string{changedTooFast}}).Fields())
}

// get answers get.
func (s *server) get(ctx context.Context, conn *connection, from *peer, args [][]byte) {
	ctx, end := lookout(conn.watch).during(ctx)
	f, err := s.cache.value(ctx, string(args[0]), string(args[1]))
	end()
	defer s.cache.free(f)
	if err == nil {
		err = from.same()
	}
	if err == nil {
		err = s.cache.mayGive()
	}
	s.logRequest(from, wire.VerbGet, args, err)
	if err == nil {
		err = s.send(conn, f, s.cache.mayGive)
	}
	if err != nil {
		s.write(conn, asError(err).Fields())
	}
}

func (s *server) status(ctx context.Context, args [][]byte) ([][]byte, error) {
	status, err := s.cache.Status(ctx, string(args[0]))
	return asJSON(status, err)
}

func (s *server) list(ctx context.Context, args [][]byte) ([][]byte, error) {
	items, err := s.cache.List(ctx, string(args[0]))
	return asJSON(items, err)
}

// asJSON makes one field of what holds no value.
func asJSON(v any, err error) ([][]byte, error) {
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(v)
	return [][]byte{text}, err
}

func (s *server) set(ctx context.Context, args [][]byte) ([][]byte, error) {
	return nil, s.cache.Set(ctx, string(args[0]), string(args[1]), args[2])
}

func (s *server) remove(ctx context.Context, args [][]byte) ([][]byte, error) {
	return nil, s.cache.Remove(ctx, string(args[0]), string(args[1]))
}

func (s *server) lock(ctx context.Context, _ [][]byte) ([][]byte, error) {
	return nil, s.cache.Lock(ctx)
}

func (s *server) unlock(ctx context.Context, args [][]byte) ([][]byte, error) {
	seconds, err := strconv.ParseInt(string(args[1]), 10, 32)
	if err != nil || seconds < 0 {
		return nil, failed("malformed request")
	}
	var key []byte
	if len(args[0]) > 0 {
		key = args[0]
	}
	return nil, s.cache.Unlock(ctx, key, time.Duration(seconds)*time.Second)
}

func (s *server) touch(ctx context.Context, _ [][]byte) ([][]byte, error) {
	return nil, s.cache.Touch(ctx)
}

func fields(texts ...string) [][]byte {
	out := make([][]byte, len(texts))
	for i, t := range texts {
		out[i] = []byte(t)
	}
	return out
}
