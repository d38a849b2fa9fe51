package cmd

import (
	"crypto/sha256"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What an init system reads of keyrack. The files parse as they are; two of their
// lines are examples, in the place of which the program and its environment are
// written.
var (
	//go:embed units/keyrack.socket
	socketUnit string
	//go:embed units/keyrack.service
	serviceUnit string
	//go:embed units/keyrack.plist
	launchdJob string
)

const (
	exampleProgram = "/usr/local/bin/keyrack"
	exampleService = "Environment=\"XDG_DATA_HOME=/usr/local/share\"\n"
	exampleJob     = "\t\t<key>XDG_DATA_HOME</key>\n\t\t<string>/usr/local/share</string>\n"
)

// unit is a file for an init system. Text begins with a comment that tells whether
// somebody changed it since.
type unit struct {
	path string
	text string
}

// environment is what the daemon must have as the person's shells have it, to find
// the same files: names and values in turn.
func unitEnvironment() (pairs [][2]string) {
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
		if value := os.Getenv(name); filepath.IsAbs(value) {
			pairs = append(pairs, [2]string{name, value})
		}
	}
	return pairs
}

// systemdUnits are the files for systemd, in its directory of the person's units.
func systemdUnits(dir, program string, environment [][2]string) ([]unit, error) {
	quotedProgram, err := systemdQuote(program, `"\$'`)
	if err != nil {
		return nil, err
	}
	var lines strings.Builder
	for _, pair := range environment {
		value, err := systemdQuote(pair[0]+"="+pair[1], `"\$`)
		if err != nil {
			return nil, err
		}
		lines.WriteString("Environment=" + value + "\n")
	}
	service := strings.NewReplacer(`"`+exampleProgram+`"`, quotedProgram, exampleService, lines.String()).Replace(serviceUnit)
	return []unit{
		{filepath.Join(dir, "keyrack.socket"), signed("# ", "\n", socketUnit)},
		{filepath.Join(dir, "keyrack.service"), signed("# ", "\n", service)},
	}, nil
}

// systemdQuote makes text one word of a unit file. What systemd would not take
// there, or take for something else, is an error.
func systemdQuote(text, refused string) (string, error) {
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == 0xfffd || strings.ContainsRune(refused, r) {
			return "", fmt.Errorf("%q has characters that a unit file of systemd can't", text)
		}
	}
	return `"` + strings.ReplaceAll(text, "%", "%%") + `"`, nil
}

// launchdUnits is the file for launchd.
func launchdUnits(dir, program string, environment [][2]string) ([]unit, error) {
	escape := func(text string) string {
		var b strings.Builder
		xml.EscapeText(&b, []byte(text)) // into a builder: never fails
		return b.String()
	}
	var pairs strings.Builder
	for _, pair := range environment {
		fmt.Fprintf(&pairs, "\t\t<key>%s</key>\n\t\t<string>%s</string>\n", pair[0], escape(pair[1]))
	}
	text := strings.NewReplacer(exampleProgram, escape(program), exampleJob, pairs.String()).Replace(launchdJob)
	head, rest, _ := strings.Cut(text, "\n") // the XML declaration comes first
	return []unit{{filepath.Join(dir, "keyrack.plist"), head + "\n" + signed("<!-- ", " -->\n", rest)}}, nil
}

const signature = "Written by keyrack daemon install; the rest has the SHA-256 "

// signed is text behind a comment that says what it was when it was written.
func signed(begin, end, text string) string {
	return fmt.Sprintf("%s%s%x%s%s", begin, signature, sha256.Sum256([]byte(text)), end, text)
}

// unchanged says whether text is as install wrote it, this version or another.
func unchanged(text string) bool {
	head, rest, ok := strings.Cut(text, "\n")
	if ok && strings.HasPrefix(head, "<?xml ") {
		head, rest, ok = strings.Cut(rest, "\n")
	}
	_, digest, found := strings.Cut(head, signature)
	digest, _, _ = strings.Cut(digest, " ")
	return ok && found && digest == fmt.Sprintf("%x", sha256.Sum256([]byte(rest)))
}

// errChanged says that a file is no longer what install wrote, or never was.
type errChanged struct{ path string }

func (e errChanged) Error() string {
	return e.path + " was changed by hand: move it away, or remove it"
}

// look says whether the file is there as u has it, or at all; an error where
// somebody else wrote it.
func (u unit) look() (there, same bool, err error) {
	text, err := os.ReadFile(u.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, false, nil
	case err != nil:
		return false, false, err
	case !unchanged(string(text)):
		return true, false, errChanged{u.path}
	}
	return true, string(text) == u.text, nil
}

// write makes the file, whole or not at all.
func (u unit) write() error {
	if err := os.MkdirAll(filepath.Dir(u.path), 0o700); err != nil {
		return err
	}
	next := u.path + ".next"
	err := os.WriteFile(next, []byte(u.text), 0o600)
	if err == nil {
		err = os.Rename(next, u.path)
	}
	if err != nil {
		os.Remove(next)
	}
	return err
}

// writeUnits writes what is not there yet, nothing where one of the files is
// somebody else's. It says whether it wrote anything.
func writeUnits(units []unit) (wrote bool, err error) {
	var wanted []unit
	for _, u := range units {
		_, same, err := u.look()
		if err != nil {
			return false, err
		}
		if !same {
			wanted = append(wanted, u)
		}
	}
	for _, u := range wanted {
		if err := u.write(); err != nil {
			return true, err
		}
		say("wrote %s", u.path)
	}
	return len(wanted) > 0, nil
}

// ours are the units that are there, an error where one of them is somebody else's.
func ours(units []unit) (found []unit, err error) {
	for _, u := range units {
		there, _, err := u.look()
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, u)
		}
	}
	return found, nil
}

func removeUnits(units []unit) error {
	for _, u := range units {
		if err := os.Remove(u.path); err != nil {
			return err
		}
		say("removed %s", u.path)
	}
	return nil
}
