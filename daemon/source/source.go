// Package source gets values from where they are kept. So far that is the rack:
// keyrack's own store, one age file in the person's data directory, and the key
// that opens it.
//
// It holds nothing between two calls and decides nothing about who may have what:
// that is package daemon. Its callers wipe what it returns, and it wipes what it
// made on the way, as far as age and the OS keyring's libraries let it.
package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The kinds of lock that protect a rack's key: the OS keyring keeps it, a
// passphrase encrypts it, or it is a plain file that only its owner may read.
const (
	Keyring    = "keyring"
	Passphrase = "passphrase"
	None       = "none"
)

var (
	ErrNoRack     = errors.New("there is no rack yet")
	ErrExists     = errors.New("there is a rack already")
	ErrNotFound   = errors.New("not in the rack")
	ErrDamaged    = errors.New("damaged")
	ErrWrongKey   = errors.New("the key does not open the rack")
	ErrPassphrase = errors.New("wrong passphrase")

	// ErrKeyring says that the OS keyring did not do what it was asked for.
	ErrKeyring = errors.New("the OS keyring")
)

// Rack is the rack whose files lie in the directory Dir: rack.age; lock, which
// names the kind of its lock; and the key, in identity for None, in identity.age
// for Passphrase. A Rack holds no state: methods may be called at the same time,
// also by other processes.
type Rack struct{ Dir string }

// Bounds of what is read from the disk, in bytes.
const (
	maxRack  = 64 << 20
	maxSmall = 64 << 10 // the other files
)

// File is the rack's file.
func (r Rack) File() string { return filepath.Join(r.Dir, "rack.age") }

// KeyFile is the file that holds the key where the lock is of this kind, "" for
// none.
func (r Rack) KeyFile(kind string) string {
	switch kind {
	case None:
		return filepath.Join(r.Dir, "identity")
	case Passphrase:
		return filepath.Join(r.Dir, "identity.age")
	}
	return ""
}

func (r Rack) kindFile() string    { return filepath.Join(r.Dir, "lock") }
func (r Rack) writersLock() string { return filepath.Join(r.Dir, "rack.age.lock") }

func (r Rack) exists() (bool, error) { return exists(r.File()) }

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Kind is the kind of the rack's lock, "" where there is no rack.
func (r Rack) Kind() (string, error) {
	there, err := r.exists()
	if !there || err != nil {
		return "", err
	}
	text, err := readFile(r.kindFile(), maxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: it holds one word, the rack's kind of lock: keyring, passphrase or none", r.kindFile())
	}
	if err != nil {
		return "", err
	}
	kind := strings.TrimSpace(string(text))
	switch kind {
	case Keyring, Passphrase, None:
		return kind, nil
	}
	return "", fmt.Errorf("%s:1:1: the rack's lock is keyring, passphrase or none", r.kindFile())
}
