package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// limits are what the person's own config says.
type limits struct {
	maxTTL time.Duration // the longest ttl that anything may ask for
	quiet  bool          // no line on entering a worksite
	idle   time.Duration // lock when for so long nothing was handed out, 0 for never
	strict bool          // refuse to serve where a protection is not in force

	identity string // the file with the person's age identities, "" for none
}

const (
	defaultMaxTTL = 24 * time.Hour
	maxConfig     = 64 << 10
)

// config is the person's config file, read again whenever it changes. One that
// can't be used is an error for whoever needs it, never skipped.
type config struct {
	path string

	mu   sync.Mutex
	seen stamp
	firm bool // every change after seen shows in the stamp
	got  limits
	err  error
}

// settled is how old a file's last change must be for every later one to show in
// its stamp: two within a tick of the file system's clock leave the same.
const settled = 3 * time.Second

// stamp tells one state of a file from another.
type stamp struct {
	dev, ino, size int64
	mtime, ctime   unix.Timespec
	exists         bool
}

func stampOf(st unix.Stat_t) stamp {
	return stamp{int64(st.Dev), int64(st.Ino), st.Size, mtime(st), ctime(st), true}
}

// read returns the limits in force now.
func (c *config) read() (limits, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var st unix.Stat_t
	began := time.Now()
	err := unix.Stat(c.path, &st)
	switch {
	case c.path == "", errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return limits{maxTTL: defaultMaxTTL}, nil
	case err != nil:
		return limits{}, c.bad("%v", err)
	}
	if now := stampOf(st); now != c.seen || !c.firm {
		c.got, c.err = c.load()
		c.seen, c.firm = now, began.UnixNano()-max(now.mtime.Nano(), now.ctime.Nano()) >= int64(settled)
	}
	return c.got, c.err
}

// load reads the file whole. The stamp was taken before: a change in between is
// seen at the next read.
func (c *config) load() (limits, error) {
	file, err := os.OpenFile(c.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return limits{}, c.bad("%v", errors.Unwrap(err))
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return limits{}, c.bad("%v", err)
	}
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG:
		return limits{}, c.bad("not a regular file")
	case st.Mode&0o022 != 0:
		return limits{}, c.bad("others may write it (mode %03o)", st.Mode&0o777)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return limits{}, c.bad("belongs to another user")
	}
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return limits{}, c.bad("%v", err)
	}
	if len(text) > maxConfig {
		return limits{}, c.bad("over %d KiB", maxConfig>>10)
	}
	return c.parse(string(text))
}

// parse decodes the file strictly. Its keys are all at the top level.
func (c *config) parse(text string) (limits, error) {
	got := limits{maxTTL: defaultMaxTTL}
	var keys map[string]any
	meta, err := toml.Decode(text, &keys)
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return limits{}, c.badAt(text, parse.Position.Start, "%s", parse.Message)
	}
	if err != nil {
		return limits{}, c.bad("not TOML")
	}
	for _, key := range meta.Keys() {
		if key[0] == "helper" { // for who runs one: worksite.OwnHelpers
			continue
		}
		if err := c.take(&got, text, key, keys[key[0]]); err != nil {
			return limits{}, err
		}
	}
	return got, nil
}

// take checks one key and its value.
func (c *config) take(got *limits, text string, key toml.Key, value any) error {
	bad := func(format string, args ...any) error { return c.badAt(text, offsetOf(text, key[0]), format, args...) }
	switch key.String() {
	case "max_ttl":
		if got.maxTTL = duration(value); got.maxTTL == 0 {
			return bad(`max_ttl is a duration such as "24h"`)
		}
	case "idle":
		if got.idle = duration(value); got.idle == 0 {
			return bad(`idle is a duration such as "30m"`)
		}
	case "quiet":
		quiet, ok := value.(bool)
		if !ok {
			return bad("quiet is true or false")
		}
		got.quiet = quiet
	case "strict":
		strict, ok := value.(bool)
		if !ok {
			return bad("strict is true or false")
		}
		got.strict = strict
	case "age_identity":
		path, _ := value.(string)
		if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "~/") {
			return bad(`age_identity is a file: "/…" or "~/…"`)
		}
		got.identity = path
	default:
		return bad("unknown key %q: there are max_ttl, idle, quiet, strict, age_identity and helper", key[0])
	}
	return nil
}

// duration is a value that is a duration longer than 0, or 0.
func duration(value any) time.Duration {
	word, ok := value.(string)
	d, err := time.ParseDuration(word)
	if !ok || err != nil {
		return 0
	}
	return max(d, 0)
}

// offsetOf finds a top-level key, whose positions the TOML library does not give:
// the first that begins a line, bare or quoted or in the header of a table.
func offsetOf(text, key string) int {
	at := 0
	for line := range strings.Lines(text) {
		name := strings.TrimLeft(line, " \t\"'[")
		rest, found := strings.CutPrefix(name, key)
		if found && strings.IndexAny(rest, " \t\"'].=") == 0 {
			return at + len(line) - len(name)
		}
		at += len(line)
	}
	return 0
}

// badAt is an error at an offset of the file's text.
func (c *config) badAt(text string, at int, format string, args ...any) error {
	before := text[:min(max(at, 0), len(text))]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &wire.Error{Status: wire.Invalid, Message: fmt.Sprintf("%s:%d:%d: ", c.path, line, column) + fmt.Sprintf(format, args...)}
}

// bad is an error of the file as a whole.
func (c *config) bad(format string, args ...any) error {
	return &wire.Error{Status: wire.Invalid, Message: c.path + ": " + fmt.Sprintf(format, args...)}
}

// span writes a duration for people: its two largest units, rounded up so that a
// value just fetched for 8h has 8h.
func span(d time.Duration) string {
	switch {
	case d < 0:
		d = 0
	case d >= time.Hour:
		d = (d + time.Minute - 1).Truncate(time.Minute)
	default:
		d = (d + time.Second - 1).Truncate(time.Second)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MaxTTL is the longest ttl that the person's config file allows. Without a file
// it is 24 hours.
func MaxTTL(configFile string) (time.Duration, error) {
	got, err := (&config{path: configFile}).read()
	return got.maxTTL, err
}

// AgeIdentity is the file with the person's age identities, "" for none.
func AgeIdentity(configFile string) (string, error) {
	got, err := (&config{path: configFile}).read()
	return got.identity, err
}
