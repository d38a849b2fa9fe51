package daemon

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"keyrack/daemon/wire"
)

// How long a client waits: connectTime for a daemon to answer at all, stopTime for
// it to be gone, answerTime for one that has work to do, such as asking an OS keyring
// that asks a person.
const (
	connectTime = 2 * time.Second
	stopTime    = 5 * time.Second
	answerTime  = 70 * time.Second
)

// Client is an Agent over the socket. It holds no connection: each call is one.
type Client struct {
	place wire.Place
	exe   string
	// Slow, where not nil, is called when an answer takes longer than wire.SlowAfter.
	Slow func()
	// Command is the name of the command that gets the grants, for the audit log.
	Command string
}

// Connect finds the daemon at p, starting `exe daemon run` where none answers and
// exe is not "", and replacing one of an older protocol. It takes 2 seconds at most.
func Connect(ctx context.Context, p wire.Place, exe string) (*Client, error) {
	within, err := limit(ctx, connectTime)
	if err != nil {
		return nil, err
	}
	if _, err := wire.CallOrStart(p, exe, within, nil, []byte(wire.VerbPing)); err != nil {
		return nil, err
	}
	return &Client{place: p, exe: exe}, nil
}

// Stop ends the daemon at p, whatever its protocol version, and waits until its
// socket is gone. It is no error when there is none.
func Stop(ctx context.Context, p wire.Place) error {
	within, err := limit(ctx, stopTime)
	if err != nil {
		return err
	}
	return wire.Stop(p, within)
}

// limit is how long a call may take under ctx, at most most.
func limit(ctx context.Context, most time.Duration) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, &wire.Error{Status: wire.Unavailable, Message: "gave up: " + err.Error()}
	}
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline))
	}
	return most, nil
}

// call sends one request. When ctx ends first it returns at once and leaves the
// request to end by itself.
func (c *Client) call(ctx context.Context, fields ...[]byte) ([][]byte, error) {
	within, err := limit(ctx, answerTime)
	if err != nil {
		return nil, err
	}
	type result struct {
		answer [][]byte
		err    error
	}
	done := make(chan result, 1)
	go func() {
		answer, err := wire.CallOrStart(c.place, c.exe, within, c.Slow, fields...)
		select {
		case <-ctx.Done():
			wire.Wipe(answer)
		default:
		}
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, &wire.Error{Status: wire.Unavailable, Message: "gave up: " + ctx.Err().Error()}
	}
}

// plain sends a request to a verb that answers ok or an error.
func (c *Client) plain(ctx context.Context, verb string, args ...[]byte) ([][]byte, error) {
	answer, err := c.call(ctx, append([][]byte{[]byte(verb)}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := wire.Failure(answer); err != nil {
		return nil, err
	}
	return answer[1:], nil
}

// decode reads the one field of JSON that some verbs answer.
func decode[T any](answer [][]byte, err error) (T, error) {
	var v T
	if err != nil {
		return v, err
	}
	if len(answer) != 1 || json.Unmarshal(answer[0], &v) != nil {
		return v, failed("the daemon sent a malformed answer")
	}
	return v, nil
}

// Grant is Agent.
func (c *Client) Grant(ctx context.Context, q Query) (*wire.Grant, error) {
	request := fields(wire.VerbGrant, q.Root, c.Command, strings.Join(q.Want, " "), digestText(q.Only), strings.Join(q.Has, " "))
	if q.Shell != 0 {
		request = fields(wire.VerbHook, q.Root, strconv.Itoa(q.Shell))
	}
	answer, err := c.call(ctx, request...)
	if err != nil {
		return nil, err
	}
	grant, err := wire.ParseGrant(answer)
	if err != nil {
		return nil, asError(err)
	}
	grant.TakeOwn()
	return grant, nil
}

// named is a request for a grant that says which command gets it.
func (c *Client) named(request [][]byte) [][]byte {
	if c.Command == "" {
		return request
	}
	return append(request, []byte(c.Command))
}

// Status is Agent.
func (c *Client) Status(ctx context.Context, root string) (*Status, error) {
	return decode[*Status](c.plain(ctx, wire.VerbStatus, []byte(root)))
}

// Get is Agent.
func (c *Client) Get(ctx context.Context, site, name string) ([]byte, error) {
	answer, err := c.plain(ctx, wire.VerbGet, []byte(site), []byte(name))
	if err != nil {
		return nil, err
	}
	if len(answer) != 1 {
		wire.Wipe(answer)
		return nil, failed("the daemon sent a malformed answer")
	}
	return answer[0], nil
}

// Set is Agent.
func (c *Client) Set(ctx context.Context, site, name string, value []byte) error {
	if err := checkValue(value); err != nil {
		return err
	}
	_, err := c.plain(ctx, wire.VerbSet, []byte(site), []byte(name), value)
	return err
}

// Remove is Agent.
func (c *Client) Remove(ctx context.Context, site, name string) error {
	_, err := c.plain(ctx, wire.VerbRemove, []byte(site), []byte(name))
	return err
}

// List is Agent.
func (c *Client) List(ctx context.Context, site string) ([]Item, error) {
	return decode[[]Item](c.plain(ctx, wire.VerbList, []byte(site)))
}

// Lock is Agent.
func (c *Client) Lock(ctx context.Context) error {
	_, err := c.plain(ctx, wire.VerbLock)
	return err
}

// Unlock is Agent. ttl is sent in whole seconds, rounded up.
func (c *Client) Unlock(ctx context.Context, key []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errNegativeTTL()
	}
	seconds := (ttl + time.Second - 1) / time.Second
	_, err := c.plain(ctx, wire.VerbUnlock, key, []byte(strconv.FormatInt(int64(seconds), 10)))
	return err
}

// Touch is Agent.
func (c *Client) Touch(ctx context.Context) error {
	_, err := c.plain(ctx, wire.VerbTouch)
	return err
}

var _ Agent = (*Client)(nil)
