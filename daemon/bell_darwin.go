package daemon

import "errors"

// macOS has no /proc, by which the daemon could find a shell's pipes: nobody rings there,
// and all ask by the client.
var ways []way

func holdOwn(int) (handle, error) { return handle{}, errors.ErrUnsupported }

func pipeRoom(int) int { return 0 }
