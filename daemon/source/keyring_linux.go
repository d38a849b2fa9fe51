package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const busVariable = "DBUS_SESSION_BUS_ADDRESS"

// keyringEnvironment is this process's environment with the address of the D-Bus
// session that is there. Without an address the keyring's library would start a
// D-Bus of its own, which outlives everything: then it is an error.
func keyringEnvironment() ([]string, error) {
	address := os.Getenv(busVariable)
	if address == "" || strings.HasPrefix(address, "autolaunch:") {
		address = userBus()
	}
	if address == "" {
		return nil, fmt.Errorf("%w can't be reached: there is no D-Bus session here (%s is not set)", ErrKeyring, busVariable)
	}
	environ := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, busVariable+"=") })
	return append(environ, busVariable+"="+address), nil
}

// userBus is the address of the user's own bus, "" for none.
func userBus() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return ""
	}
	path := filepath.Join(dir, "bus")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return ""
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(path)
}

// personHere says whether somebody sits at a desktop that can show a prompt.
func personHere() bool {
	kind := os.Getenv("XDG_SESSION_TYPE")
	return os.Getenv("WAYLAND_DISPLAY") != "" || os.Getenv("DISPLAY") != "" || kind == "wayland" || kind == "x11"
}

const secretService = "org.freedesktop.secrets"

// probe says whether somebody on the bus keeps secrets, or could be started to.
func probe() error {
	bus, err := dbus.ConnectSessionBus()
	if err != nil {
		return err
	}
	defer bus.Close()
	var owned bool
	if err := bus.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, secretService).Store(&owned); err != nil {
		return err
	}
	if owned {
		return nil
	}
	var startable []string
	if err := bus.BusObject().Call("org.freedesktop.DBus.ListActivatableNames", 0).Store(&startable); err != nil {
		return err
	}
	if !slices.Contains(startable, secretService) {
		return errors.New("nobody on this D-Bus session keeps secrets (" + secretService + ")")
	}
	return nil
}

// explain finds the common reason for err, which the library has not: a keyring
// that is locked, and nobody unlocked it.
func explain(err error) error {
	bus, failed := dbus.SessionBus()
	if failed != nil {
		return err
	}
	for _, path := range []dbus.ObjectPath{"/org/freedesktop/secrets/collection/login", "/org/freedesktop/secrets/aliases/default"} {
		locked, failed := bus.Object(secretService, path).GetProperty("org.freedesktop.Secret.Collection.Locked")
		if failed != nil {
			continue
		}
		if locked.Value() == true {
			return errors.New("it is locked, and was not unlocked when it asked for that")
		}
		break
	}
	return err
}

// undumpable keeps other processes of this user from reading this one's memory.
func undumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// endGroup has nothing to end: on Linux the library starts no process.
func endGroup() {}
