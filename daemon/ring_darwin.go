package daemon

import (
	"errors"
	"os"

	"keyrack/daemon/wire"
)

// macOS has no /proc, by which the daemon could find a shell's pipes: nobody rings there,
// and all ask by the client.
func openAsks(wire.Place) (*os.File, error) { return nil, errors.ErrUnsupported }

func emptyAsks(wire.Place) error { return errors.ErrUnsupported }

func rings(*os.File, func(pid int)) {}

func holdProcess(int) (handle, error) { return handle{}, errors.ErrUnsupported }

func mayRing(int) error { return errors.ErrUnsupported }

type asking struct{}

func findQuestion(int) (asking, string, error) { return asking{}, "", errors.ErrUnsupported }

func (asking) openAnswer(string) (int, error) { return -1, errors.ErrUnsupported }

func (asking) close() {}

func pipeRoom(int) int { return 0 }
