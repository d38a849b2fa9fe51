package seal

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Keyring is the number of a keyring of the kernel's that no other process has.
type Keyring int

// What may be done with a key by who has it in a keyring of his own: look at it, read
// and find it. Nobody may change it, or what may be done with it, or its end.
const keyPermission = 0x0b000000

// Add is Kernel.
func (r Keyring) Add(key []byte, end int64) (int, error) {
	id, err := unix.AddKey("user", "keyrack:"+strconv.FormatInt(end, 36), key, int(r))
	if err != nil {
		return 0, fmt.Errorf("add_key: %w", err)
	}
	left := end - seconds()
	if left <= 0 { // 0 would be for ever
		r.Remove(id)
		return 0, ErrEnded
	}
	_, err = unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, int(left), 0, 0)
	if err == nil {
		err = unix.KeyctlSetperm(id, keyPermission)
	}
	if err != nil {
		r.Remove(id)
		return 0, fmt.Errorf("keyctl: %w", err)
	}
	return id, nil
}

// Read is Kernel.
func (r Keyring) Read(id int, key []byte) error {
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, key, 0)
	switch {
	case errors.Is(err, unix.EKEYEXPIRED), errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREVOKED):
		return fmt.Errorf("%w: %w", ErrEnded, err)
	case err != nil:
		return fmt.Errorf("keyctl: %w", err)
	case n != len(key):
		return ErrEnded
	}
	return nil
}

// Remove takes a key out of the keyring, and with its last place it ends.
func (r Keyring) Remove(id int) {
	_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, int(r), 0, 0) // one that the kernel has collected is gone
}

// End is rounded up: no key ends before what is sealed under it.
func (r Keyring) End(left time.Duration) int64 {
	now := coarse()
	at := now.Nano() + int64(left)
	return (at + int64(time.Second) - 1) / int64(time.Second)
}

func seconds() int64 { return coarse().Sec }

// coarse is the clock by which the kernel ends keys: the wall clock, as of its last
// tick.
func coarse() (now unix.Timespec) {
	_ = unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) // it is always there
	return now
}
