package wire

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Place is where one daemon and its clients meet. Socket is what clients connect
// to, Generation a file whose content changes whenever an answer could differ,
// Lock the file whose lock the one daemon holds, Locked a marker that exists
// while `keyrack lock` is in force. Scope says in words who shares the daemon.
type Place struct {
	Dir        string
	Socket     string
	Generation string
	Lock       string
	Locked     string
	Scope      string
	// Session is the audit session id, "" where there is none.
	Session string
}

// FindPlace tells the place of this process's login session from its environment.
// It creates nothing and checks nothing but that the path can be used.
func FindPlace() (Place, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if strings.HasPrefix(dir, "/") {
		dir = strings.TrimRight(dir, "/") + "/keyrack"
	} else {
		dir = strings.TrimRight(os.TempDir(), "/") + "/keyrack-" + strconv.Itoa(os.Geteuid())
	}
	if !strings.HasPrefix(dir, "/") || strings.ContainsAny(dir, "\x00\n") {
		return Place{}, &Error{Status: Unavailable, Message: "the runtime directory has no usable path: set XDG_RUNTIME_DIR to an absolute one"}
	}
	return PlaceIn(dir, SessionID()), nil
}

// PlaceIn is the place in the directory dir for the audit session id session, ""
// for none.
func PlaceIn(dir, session string) Place {
	p := Place{Dir: dir, Session: session}
	if session != "" {
		base := dir + "/session-" + session
		p.Socket, p.Generation, p.Lock, p.Locked = base+".sock", base+".generation", base+".lock", base+".locked"
		p.Scope = "login session " + session
		return p
	}
	p.Socket, p.Generation, p.Lock, p.Locked = dir+"/keyrack.sock", dir+"/generation", dir+"/daemon.lock", dir+"/locked"
	p.Scope = "user " + userName() + ", no login session id (container, WSL, macOS)"
	return p
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

// checkSocket says the same of the socket.
func (p Place) checkSocket() error {
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
