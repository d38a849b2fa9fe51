package source

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Lock is how the key of a new rack is to be protected. Kind is one of the three;
// Passphrase is for that kind, Program, keyrack's own path, for Keyring.
type Lock struct {
	Kind       string
	Passphrase []byte
	Program    string

	cost int // of trying a passphrase, 0 for workFactor
}

// Create makes an empty rack and returns its key. It never replaces a rack
// (ErrExists) nor a key: one that an earlier rack, or an interrupted Create, left
// where this one's would be is used again, which reused tells. What another kind
// of lock left is an error. The rack's file comes last, so there is no rack until
// all of it is there; when Create fails, what it made is gone again.
func (r Rack) Create(ctx context.Context, l Lock) (key []byte, reused bool, err error) {
	if err := r.makeDir(); err != nil {
		return nil, false, err
	}
	release, err := r.lockWrites(ctx)
	if err != nil {
		return nil, false, err
	}
	defer release()
	r.sweep()
	if err := r.clear(l.Kind); err != nil {
		return nil, false, err
	}
	key, err = r.leftKey(ctx, l)
	if reused = key != nil; err != nil {
		return nil, false, err
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if !reused {
		if key, err = newKey(); err != nil {
			return nil, false, err
		}
		if err := r.keep(ctx, l, key); err != nil {
			clear(key)
			return nil, false, err
		}
	}
	err = r.finish(l.Kind, key)
	if err != nil && !reused {
		err = errors.Join(err, r.forget(l))
	}
	if err != nil {
		clear(key)
		return nil, false, err
	}
	return key, reused, nil
}

// makeDir makes the rack's directory, or closes it to others.
func (r Rack) makeDir() error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(r.Dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(r.Dir, 0o700)
	}
	return err
}

// clear says whether there is a way for a new rack with this kind of lock.
func (r Rack) clear(kind string) error {
	there, err := r.exists()
	if err != nil {
		return err
	}
	if there {
		return fmt.Errorf("%w: %s", ErrExists, r.File())
	}
	for _, own := range []string{None, Passphrase} {
		path := r.KeyFile(own)
		there, err := exists(path)
		if err != nil {
			return err
		}
		if there && kind != own {
			return fmt.Errorf("%s is in the way, the key of an earlier rack: move it to where you keep old keys", path)
		}
	}
	return nil
}

// leftKey returns the key that an earlier rack left, nil for none.
func (r Rack) leftKey(ctx context.Context, l Lock) ([]byte, error) {
	switch l.Kind {
	case None:
		if there, err := exists(r.KeyFile(None)); !there || err != nil {
			return nil, err
		}
		return r.fromIdentityFile()
	case Passphrase:
		if there, err := exists(r.KeyFile(Passphrase)); !there || err != nil {
			return nil, err
		}
		key, err := r.KeyFromPassphrase(l.Passphrase)
		if errors.Is(err, ErrPassphrase) {
			err = fmt.Errorf("%w: %s, the key of an earlier rack, has another: give that one, or move the file to where you keep old keys", err, r.KeyFile(Passphrase))
		}
		return key, err
	case Keyring:
		key, err := keyring{l.Program}.get(ctx)
		if errors.Is(err, errNoItem) {
			return nil, nil
		}
		return key, err
	}
	return nil, fmt.Errorf("%q is no kind of lock: there are keyring, passphrase and none", l.Kind)
}

// keep puts a new key behind its lock.
func (r Rack) keep(ctx context.Context, l Lock, key []byte) error {
	switch l.Kind {
	case Keyring:
		return keyring{l.Program}.set(ctx, key)
	case Passphrase:
		cost := l.cost
		if cost == 0 {
			cost = workFactor
		}
		return sealKey(r.KeyFile(Passphrase), key, l.Passphrase, cost)
	}
	text, err := identityText(key)
	if err != nil {
		return err
	}
	defer clear(text)
	return writeBytes(r.KeyFile(None), text)
}

// finish writes what makes a key a rack.
func (r Rack) finish(kind string, key []byte) error {
	if err := writeBytes(r.kindFile(), []byte(kind+"\n")); err != nil {
		return err
	}
	err := r.store(key, nil)
	if err != nil {
		os.Remove(r.kindFile())
	}
	return err
}

// forget removes the key of a rack that was not made. It takes a moment even
// where the caller has given up.
func (r Rack) forget(l Lock) error {
	switch l.Kind {
	case Keyring:
		return keyring{l.Program}.remove(context.Background())
	case Passphrase:
		return os.Remove(r.KeyFile(Passphrase))
	}
	return os.Remove(r.KeyFile(None))
}

// Key returns the key of a rack whose lock answers by itself: of None from its
// file, of Keyring from the OS keyring, which program, keyrack's own path, asks in
// a process of its own. That ends with ctx, and takes 1 second at most, or a
// minute where a person sits at a desktop that can ask for a password.
func (r Rack) Key(ctx context.Context, program string) ([]byte, error) {
	kind, err := r.Kind()
	switch {
	case err != nil:
		return nil, err
	case kind == "":
		return nil, ErrNoRack
	case kind == None:
		return r.fromIdentityFile()
	case kind == Passphrase:
		return nil, errors.New("the rack's lock is a passphrase, which a person has to give")
	}
	key, err := keyring{program}.get(ctx)
	if errors.Is(err, errNoItem) {
		err = keyIsGone()
	}
	return key, err
}

func keyIsGone() error {
	return fmt.Errorf("%w: %s: the rack can't be opened without it", ErrKeyring, errNoItem)
}
