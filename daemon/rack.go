package daemon

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

// identity returns the rack's key for one use, which the caller wipes.
func (c *Cache) identity(ctx context.Context) ([]byte, error) {
	if c.isLocked() {
		return nil, errLocked()
	}
	kind, err := c.rack.Kind()
	switch {
	case err != nil:
		return nil, failed(err.Error())
	case kind == "":
		return nil, errNoRack()
	case kind == source.Passphrase:
		if key := c.keyNow(); key != nil {
			return key, nil
		}
		return nil, errLocked()
	}
	key, err := c.ask(ctx)
	if err != nil {
		return nil, rackError(err)
	}
	return key, nil
}

// use runs f with the rack's key, in bounded time.
func (c *Cache) use(ctx context.Context, f func(ctx context.Context, key []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	key, err := c.identity(ctx)
	if err != nil {
		return err
	}
	defer clear(key)
	if err := f(ctx, key); err != nil {
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
func (c *Cache) checkKey(key []byte) error {
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
	if err := c.rack.CheckKey(key); err != nil {
		return rackError(err)
	}
	return nil
}

// Get is Agent.
func (c *Cache) Get(ctx context.Context, site, name string) ([]byte, error) {
	if err := checkNames(site, name); err != nil {
		return nil, err
	}
	c.mu.Lock()
	t := ticket{epoch: c.epoch}
	c.mu.Unlock()
	var value []byte
	err := c.use(ctx, func(ctx context.Context, key []byte) error {
		values, err := c.rack.Read(ctx, key, site, []string{name})
		value = values[name]
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case value == nil:
		return nil, missing(site, name)
	case !c.valid(t) && c.isLocked():
		clear(value)
		return nil, errLocked()
	case !c.gave():
		clear(value)
		c.lockIfIdle()
		return nil, errLocked()
	}
	return value, nil
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
		return c.rack.Set(ctx, key, site, name, value)
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
		err := c.rack.Remove(ctx, key, site, name)
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
		found, err := c.rack.List(ctx, key, site)
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
