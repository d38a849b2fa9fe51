package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"filippo.io/age"
)

// A rack's key is the text of an age identity, AGE-SECRET-KEY-1…, without an end
// of line.

// identityOf is the key as age knows it. The error does not tell what is wrong
// with the key, which would tell of the key.
func identityOf(key []byte) (*age.X25519Identity, error) {
	identity, err := age.ParseX25519Identity(string(key))
	if err != nil {
		return nil, ErrWrongKey
	}
	return identity, nil
}

func newKey() ([]byte, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return []byte(identity.String()), nil
}

// CheckKey says whether key opens the rack.
func (r Rack) CheckKey(key []byte) error {
	_, _, err := r.open(key)
	return err
}

// fromIdentityFile reads the key from a file that only its owner may read.
func (r Rack) fromIdentityFile() ([]byte, error) {
	file, info, err := openFile(r.KeyFile(None))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: the rack can't be opened without it", r.KeyFile(None))
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case int(owner) != os.Geteuid():
		return nil, fmt.Errorf("%s belongs to another user", r.KeyFile(None))
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s: others may read it (mode %03o): the rack's key may be known to them", r.KeyFile(None), info.Mode().Perm())
	}
	text, err := readOpen(file, info, maxSmall)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return keyIn(text, r.KeyFile(None))
}

// keyIn finds the one key in the text of an identity file, as age-keygen writes
// it: comments, blank lines and the key.
func keyIn(text []byte, file string) ([]byte, error) {
	var key []byte
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if key != nil {
			return nil, fmt.Errorf("%s holds more than one key", file)
		}
		key = line
	}
	if _, err := identityOf(key); err != nil {
		return nil, fmt.Errorf("%s is %w: it holds no age identity", file, ErrDamaged)
	}
	return bytes.Clone(key), nil
}

// identityText is what an identity file for key holds.
func identityText(key []byte) ([]byte, error) {
	identity, err := identityOf(key)
	if err != nil {
		return nil, err
	}
	comment := "# The key of a keyrack rack. Whoever has it reads every secret.\n# public key: " + identity.Recipient().String() + "\n"
	text := make([]byte, 0, len(comment)+len(key)+1)
	return append(append(append(text, comment...), key...), '\n'), nil
}

// workFactor is the cost of trying a passphrase, as a power of two: 18 is what
// age has, 256 MiB and about a second.
const workFactor = 18

// KeyFromPassphrase returns the key of a rack whose lock is Passphrase, or
// ErrPassphrase. It takes about a second.
func (r Rack) KeyFromPassphrase(passphrase []byte) ([]byte, error) {
	sealed, err := readFile(r.KeyFile(Passphrase), maxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: the rack can't be opened without it", r.KeyFile(Passphrase))
	}
	if err != nil {
		return nil, err
	}
	return unseal(sealed, passphrase, r.KeyFile(Passphrase))
}

func unseal(sealed, passphrase []byte, file string) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, ErrPassphrase
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrPassphrase
	}
	text := make([]byte, len(sealed))
	defer clear(text)
	if err == nil {
		var n int
		n, err = readAll(plain, text)
		if err == nil {
			return keyIn(text[:n], file)
		}
	}
	return nil, fmt.Errorf("%s is %w: truncated or changed", file, ErrDamaged)
}

// sealKey writes key to an age file that passphrase opens.
func sealKey(path string, key, passphrase []byte, cost int) error {
	if len(passphrase) == 0 {
		return errors.New("a passphrase is not empty")
	}
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(cost)
	text, err := identityText(key)
	if err != nil {
		return err
	}
	defer clear(text)
	return writeFile(path, func(w io.Writer) error { return seal(w, text, recipient) })
}
