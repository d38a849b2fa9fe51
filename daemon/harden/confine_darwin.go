package harden

import (
	"errors"
	"fmt"
)

// Confine says that macOS has no such thing.
func Confine(Confinement) error {
	return fmt.Errorf("macOS has no Landlock: %w", errors.ErrUnsupported)
}

// Refuses is nil: what Confine says is enough.
func (c Confinement) Refuses(path string) error { return nil }
