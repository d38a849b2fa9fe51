package daemon

import "errors"

// inMemory is an error: macOS has no file system in memory that is there unasked.
func inMemory(string) error { return errors.New("not on macOS") }

func (handle) whenEnded(func()) (func(), error) { return nil, errors.ErrUnsupported }
