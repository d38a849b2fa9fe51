package wire

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Place is where one daemon and its clients meet. Socket is what clients connect
// to, Asks the directory by which shells without sockets ask, Generation a file whose
// content changes whenever an answer could differ, Lock the file whose lock the one daemon holds, Locked a marker that exists
// while `keyrack lock` is in force. Scope says in words who shares the daemon.
type Place struct {
	Dir        string
	Socket     string
	Asks       string
	Generation string
	Lock       string
	Locked     string
	Scope      string
	// Session is the audit session id, "" where there is none.
	Session string
	// Shared says that all login sessions of the user share the daemon, on purpose.
	Shared bool
}

// FindPlace tells the place of this process's login session from its environment,
// or the one for all sessions of the user where somebody made its socket. It
// creates nothing and checks nothing but that the path can be used.
func FindPlace() (Place, error) {
	dir, err := runtimeDir()
	if err != nil {
		return Place{}, err
	}
	shared := sharedPlace(dir)
	var st unix.Stat_t
	if unix.Lstat(shared.Socket, &st) == nil { // whether it can be trusted is checked later
		return shared, nil
	}
	return PlaceIn(dir, SessionID()), nil
}

// SharedPlace is the place for all login sessions of the user. A daemon there is
// the one that every client finds: a terminal that systemd --user started, a tty
// and an ssh login each have a session of their own.
func SharedPlace() (Place, error) {
	dir, err := runtimeDir()
	return sharedPlace(dir), err
}

func runtimeDir() (string, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if strings.HasPrefix(dir, "/") {
		dir = strings.TrimRight(dir, "/") + "/keyrack"
	} else {
		dir = strings.TrimRight(os.TempDir(), "/") + "/keyrack-" + strconv.Itoa(os.Geteuid())
	}
	if !strings.HasPrefix(dir, "/") || strings.ContainsAny(dir, "\x00\n") {
		return "", &Error{Status: Unavailable, Message: "the runtime directory has no usable path: set XDG_RUNTIME_DIR to an absolute one"}
	}
	return dir, nil
}

// PlaceIn is the place in the directory dir for the audit session id session, ""
// for none.
func PlaceIn(dir, session string) Place {
	p := Place{Dir: dir, Session: session}
	if session != "" {
		p.name("session-" + session + ".")
		p.Scope = "login session " + session
		return p
	}
	p.Socket, p.Asks, p.Generation, p.Lock, p.Locked = dir+"/keyrack.sock", dir+"/keyrack.asks", dir+"/generation", dir+"/daemon.lock", dir+"/locked"
	p.Scope = "user " + userName() + ", no login session id (container, WSL, macOS)"
	return p
}

func sharedPlace(dir string) Place {
	p := Place{Dir: dir, Shared: true, Scope: "user " + userName() + ", all login sessions"}
	p.name("user.")
	return p
}

// name names the files of a place.
func (p *Place) name(prefix string) {
	base := p.Dir + "/" + prefix
	p.Socket, p.Asks, p.Generation, p.Lock, p.Locked = base+"sock", base+"asks", base+"generation", base+"lock", base+"locked"
}

func userName() string {
	for _, key := range []string{"USER", "LOGNAME"} {
		if name := os.Getenv(key); name != "" {
			return clean(name)
		}
	}
	return strconv.Itoa(os.Geteuid())
}

// Make creates the directory where it is missing, and checks it.
func (p Place) Make() error {
	err := unix.Mkdir(p.Dir, 0o700)
	if err != nil && err != unix.EEXIST {
		return &Error{Status: Unavailable, Message: "no runtime directory " + p.Dir + ": " + err.Error()}
	}
	return p.Check()
}

// Check says whether the directory can be trusted: a directory, not a link to
// one, of this user, closed to everybody else.
func (p Place) Check() error {
	return check(p.Dir, unix.S_IFDIR, "directory", "700")
}

// CheckSocket says the same of the socket.
func (p Place) CheckSocket() error {
	return check(p.Socket, unix.S_IFSOCK, "socket", "600")
}

func check(path string, kind uint32, what, mode string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		if err == unix.ENOENT || err == unix.ENOTDIR {
			return &Error{Status: Unavailable, Message: "no daemon is running", absent: true}
		}
		return &Error{Status: Unavailable, Message: "can't look at " + path + ": " + err.Error()}
	}
	refuse := func(why, hint string) error {
		return &Error{Status: Unavailable, Message: path + " " + why + ": refused", Hint: hint}
	}
	switch {
	case uint32(st.Mode)&unix.S_IFMT == unix.S_IFLNK:
		return refuse("is a symbolic link, not a "+what, "")
	case uint32(st.Mode)&unix.S_IFMT != kind:
		return refuse("is not a "+what, "")
	case int(st.Uid) != os.Geteuid():
		return refuse("belongs to another user (uid "+strconv.Itoa(int(st.Uid))+")", "")
	case st.Mode&0o077 != 0:
		return refuse("is open to others (mode "+strconv.FormatUint(uint64(st.Mode&0o7777), 8)+")", "chmod "+mode+" "+quote(path))
	}
	return nil
}

// quote makes path one word of a POSIX shell, for a hint that can be pasted.
func quote(path string) string {
	plain := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+@", r))
	}
	if strings.IndexFunc(path, plain) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
