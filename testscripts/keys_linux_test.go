package testscripts

import "golang.org/x/sys/unix"

// hasKeys says whether the kernel keeps keys for this process: containers' filters
// often forbid it.
func hasKeys() bool {
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
	return err == nil
}
