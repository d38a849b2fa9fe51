package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kernelKeys finds keys of the type user in the person's user keyring, by their
// descriptions. The thread, and what it starts, has a session keyring of its own from
// then on.
func kernelKeys() (finding, error) {
	runtime.LockOSThread()
	// A key can be read by who possesses it, and what is in a process's session keyring
	// it does. That of the daemon is another one than the person's.
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if err == nil {
		_, err = unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_SESSION_KEYRING, 0, 0)
	}
	if err != nil {
		return nil, &openError{"the kernel keeps no keys for this process: " + err.Error(), ErrKeyring}
	}
	return kernelKey, nil
}

func kernelKey(description string) (value []byte, left time.Duration, err error) {
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", description, 0)
	if errors.Is(err, unix.ENOKEY) {
		if _, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "logon", description, 0); err == nil {
			return nil, 0, errors.New("it is a key of the type logon, which only the kernel reads")
		}
	}
	if err == nil { // first: a key that gets a shorter timeout meanwhile is kept for the one that it had
		left, err = timeout(id)
	}
	if err == nil {
		value, err = readKey(id)
	}
	switch {
	case errors.Is(err, unix.ENOKEY):
		return nil, 0, &openError{"there is no such key of the type user in the user keyring", ErrNotFound}
	case errors.Is(err, unix.EKEYEXPIRED):
		return nil, 0, &openError{"the key has expired", ErrNotFound}
	case errors.Is(err, unix.EKEYREVOKED):
		return nil, 0, &openError{"the key was revoked", ErrNotFound}
	}
	return value, left, err
}

func readKey(id int) ([]byte, error) {
	value := make([]byte, 4<<10)
	for {
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, value, 0)
		switch {
		case err != nil:
			return nil, err
		case n > maxValue:
			return nil, errTooLong
		case n <= len(value):
			return value[:n], nil
		}
		value = make([]byte, n)
	}
}

// timeout is how long a key lasts, 0 for ever. No call tells it: it stands in
// /proc/keys, without what is left over from the largest unit.
func timeout(id int) (time.Duration, error) {
	file, err := os.Open("/proc/keys")
	if err != nil {
		return 0, fmt.Errorf("the key's timeout can't be read: %w", innermost(err))
	}
	defer file.Close()
	return timeoutIn(file, id)
}

// timeoutIn reads lines such as
//
//	0a4f93fb I--Q---     1  59m 3f010000  1000  1000 user      name: 5
func timeoutIn(r io.Reader, id int) (time.Duration, error) {
	serial := fmt.Sprintf("%08x", uint32(id))
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[0] == serial {
			return parseTimeout(fields[3])
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("the key's timeout can't be read: %w", err)
	}
	return 0, errors.New("the key's timeout can't be read: /proc/keys does not name it")
}

func parseTimeout(word string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	switch word {
	case "perm":
		return 0, nil
	case "expd":
		return 0, unix.EKEYEXPIRED
	}
	last := len(word) - 1
	n, err := strconv.ParseUint(word[:last], 10, 31)
	unit := units[word[last]]
	if err != nil || unit == 0 || n > uint64(1<<62/unit) {
		return 0, errors.New("the key's timeout can't be read: /proc/keys has it in no unit that is known")
	}
	return max(time.Duration(n)*unit, time.Nanosecond), nil
}
