package seal

import (
	"errors"
	"time"
)

// Keyring is none: macOS has no such keys.
type Keyring int

// Add is Kernel.
func (Keyring) Add([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// Read is Kernel.
func (Keyring) Read(int, []byte) error { return errors.ErrUnsupported }

// Remove is Kernel.
func (Keyring) Remove(int) {}

// End is Kernel.
func (Keyring) End(time.Duration) int64 { return 0 }
