package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/arena"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// fetchTime bounds one look into the rack. An OS keyring that asks a person takes
// the most of it.
const fetchTime = 65 * time.Second

// errAbsent says that the rack has no such value.
var errAbsent = errors.New("not in the rack")

func errLocked() *wire.Error {
	return &wire.Error{Status: wire.Locked, Message: "locked", Hint: "keyrack unlock"}
}

func errNoRack() *wire.Error {
	return &wire.Error{Status: wire.NoRack, Message: "there is no rack yet", Hint: "keyrack rack create"}
}

// opener is source.Opener, or what a test has in its place.
type opener interface {
	Read(ctx context.Context, key []byte, site string, names []string, room source.Room) error
	List(ctx context.Context, key []byte, site string) ([]source.Item, error)
	Set(ctx context.Context, key []byte, site, name string, value []byte) error
	Remove(ctx context.Context, key []byte, site, name string) error
	CheckKey(ctx context.Context, key []byte) error
}

// childEnvironment is the environment of the processes that open the rack.
func childEnvironment() []string {
	return append(wire.CleanEnvironment(os.Environ()), "GOTRACEBACK=none")
}

// identity returns the rack's key for one use, which the caller frees; none for
// the kinds of lock that answer by themselves, to whoever opens the rack.
func (c *Cache) identity() (arena.Block, error) {
	if c.isLocked() {
		return arena.Block{}, errLocked()
	}
	kind, err := c.rack.Kind()
	switch {
	case err != nil:
		return arena.Block{}, failed(err.Error())
	case kind == "":
		return arena.Block{}, errNoRack()
	case kind != source.Passphrase:
		return arena.Block{}, nil
	}
	key, ok, err := c.keyNow()
	switch {
	case err != nil:
		return arena.Block{}, full(err)
	case !ok:
		return arena.Block{}, errLocked()
	}
	return key, nil
}

// use runs f with the rack's key, in bounded time.
func (c *Cache) use(ctx context.Context, f func(ctx context.Context, key []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if err := c.refuseWeak(); err != nil {
		return err
	}
	key, err := c.identity()
	if err != nil {
		return err
	}
	defer c.arena.Free(key)
	if err := f(ctx, key.Bytes()); err != nil {
		return rackError(err)
	}
	return nil
}

// rackError makes an error of the rack one for the wire.
func rackError(err error) error {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, source.ErrNoRack):
		return errNoRack()
	case errors.Is(err, context.DeadlineExceeded):
		return &wire.Error{Status: wire.Unavailable, Message: "the rack's key takes too long to get"}
	}
	return failed(err.Error())
}

// checkKey says whether key is what Unlock needs for the rack's kind of lock.
func (c *Cache) checkKey(ctx context.Context, key []byte) error {
	kind, err := c.rack.Kind()
	switch {
	case err != nil:
		return failed(err.Error())
	case key == nil && kind == source.Passphrase:
		return &wire.Error{Status: wire.Locked, Message: "unlocking takes the passphrase", Hint: "keyrack unlock"}
	case key == nil:
		return nil
	case kind == "":
		return errNoRack()
	case kind != source.Passphrase:
		return failed("the rack's lock is " + kind + ": it takes no key")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if err := c.opener.CheckKey(ctx, key); err != nil {
		return rackError(err)
	}
	return nil
}

// Get is Agent.
func (c *Cache) Get(ctx context.Context, site, name string) ([]byte, error) {
	f, err := c.value(ctx, site, name)
	if err != nil {
		return nil, err
	}
	defer c.free(f)
	if err := c.mayGive(); err != nil {
		return nil, err
	}
	fields, err := f.parse()
	if err != nil {
		return nil, err
	}
	return fields[1], nil
}

// mayGive says whether a value that was just fetched may be handed out, and counts
// as that.
func (c *Cache) mayGive() error {
	if c.isLocked() {
		return errLocked()
	}
	if !c.gave() {
		c.lockIfIdle()
		return errLocked()
	}
	return nil
}

// value is the answer to get, which stands as long as mayGive says so.
func (c *Cache) value(ctx context.Context, site, name string) (f frame, err error) {
	if err := checkNames(site, name); err != nil {
		return frame{}, err
	}
	var value []byte
	err = c.use(ctx, func(ctx context.Context, key []byte) error {
		return c.opener.Read(ctx, key, site, []string{name}, func(_ string, size int, _ time.Duration) (_ []byte, err error) {
			c.free(f)
			f, value, err = c.valueFrame(size)
			return value, err
		})
	})
	switch {
	case err != nil:
	case f.bytes == nil:
		err = missing(site, name)
	case bytes.IndexByte(value, 0) >= 0:
		err = failed("the answer holds a NUL byte")
	default:
		return f, nil
	}
	c.free(f)
	return frame{}, err
}

func missing(site, name string) *wire.Error {
	return &wire.Error{Status: wire.Missing, Message: site + ": " + name + " is missing", Hint: "keyrack set " + name}
}

// Set is Agent.
func (c *Cache) Set(ctx context.Context, site, name string, value []byte) error {
	if err := errors.Join(checkNames(site, name), checkValue(value)); err != nil {
		return asError(err)
	}
	err := c.use(ctx, func(ctx context.Context, key []byte) error {
		return c.opener.Set(ctx, key, site, name, value)
	})
	if err != nil {
		return err
	}
	return c.forget(site, name)
}

// Remove is Agent.
func (c *Cache) Remove(ctx context.Context, site, name string) error {
	if err := checkNames(site, name); err != nil {
		return err
	}
	err := c.use(ctx, func(ctx context.Context, key []byte) error {
		err := c.opener.Remove(ctx, key, site, name)
		if errors.Is(err, source.ErrNotFound) {
			return missing(site, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.forget(site, name)
}

// List is Agent.
func (c *Cache) List(ctx context.Context, site string) ([]Item, error) {
	if site != "" {
		if err := checkNames(site, "X"); err != nil {
			return nil, err
		}
	}
	items := []Item{}
	err := c.use(ctx, func(ctx context.Context, key []byte) error {
		found, err := c.opener.List(ctx, key, site)
		for _, f := range found {
			items = append(items, Item{Site: f.Site, Name: f.Name})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(items, func(a, b Item) int {
		if n := strings.Compare(a.Site, b.Site); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	return items, nil
}

// checkNames refuses what no worksite could ask for. It does not say what it got:
// where a client mixes up its arguments that may be a value. The commands, which
// know what is a name, say it.
func checkNames(site, name string) error {
	if worksite.CheckName(site) != nil {
		return &wire.Error{Status: wire.Invalid, Message: "that is no name of a worksite"}
	}
	if worksite.CheckSecretName(name) != nil {
		return &wire.Error{Status: wire.Invalid, Message: "that is no name of a secret"}
	}
	return nil
}

// checkValue refuses what no environment variable can hold, and what no request
// could carry.
func checkValue(value []byte) error {
	switch {
	case bytes.IndexByte(value, 0) >= 0:
		return &wire.Error{Status: wire.Invalid, Message: "the value holds a NUL byte, which no environment variable can"}
	case len(value) > wire.MaxRequest-4096:
		return &wire.Error{Status: wire.Invalid, Message: "the value is over 1 MiB"}
	}
	return nil
}

// rackStamp tells one state of the rack's file from another.
func (c *Cache) rackStamp() stamp {
	var st unix.Stat_t
	if unix.Stat(c.rackFile, &st) != nil {
		return stamp{}
	}
	return stampOf(st)
}
