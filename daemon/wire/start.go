package wire

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ReadyVariable tells a daemon that Start spawned the number of the descriptor on
// which it reports: ReadyUp when it listens, ReadyOther when another daemon does
// already, else one line that says why it can't.
const (
	ReadyVariable = "KEYRACK_READY_FD"
	ReadyUp       = "+"
	ReadyOther    = "="
)

// maxReport bounds the line in which a daemon says why it can't start.
const maxReport = 1024

// maxTries is how often CallOrStart sees to it that there is a daemon: several may
// leave, one after the other, while an upgrade goes on.
const maxTries = 10

// Start spawns `exe daemon run`, with --shared where p is, as a daemon of its own:
// a session of its own, a cleaned environment, working directory /, standard files
// on the null device and no other descriptor of this process but a pipe. It
// returns when that daemon, or another one that won the race, answers at p. exe is
// an absolute path.
func Start(p Place, exe string, within time.Duration) error {
	c := newClock(within, nil)
	for {
		if tried, err := renew(p, exe, c); tried || err != nil {
			return err
		}
	}
}

// CallOrStart is Call, but starts a daemon where none listens, replaces one that
// speaks an older protocol, and asks the next one where one leaves without an
// answer. With exe "" it does none of that.
func CallOrStart(p Place, exe string, within time.Duration, slow func(), fields ...[]byte) ([][]byte, error) {
	c := newClock(within, slow)
	for tries := 0; ; {
		answer, err := call(p, c, fields)
		var e *Error
		if err == nil || exe == "" || tries == maxTries || !errors.As(err, &e) || !e.absent && !e.older {
			return answer, err
		}
		tried, err := renew(p, exe, c)
		if err != nil {
			return nil, err
		}
		if tried {
			tries++
		}
	}
}

// renew sees to it that a daemon of this protocol answers at p. One client of many
// that come at once does that; for the others, to whom tried is false, a moment
// has passed, and one of them takes over where it fails.
func renew(p Place, exe string, c *clock) (tried bool, err error) {
	if !strings.HasPrefix(exe, "/") {
		return false, &Error{Status: Unavailable, Message: "can't start the daemon: its program has no absolute path"}
	}
	if err := p.Make(); err != nil {
		return false, err
	}
	release, err := p.tryStarting()
	if err != nil {
		return false, startFailed(err)
	}
	if release == nil {
		if c.pause() != nil {
			return false, &Error{Status: Unavailable, Message: "the daemon takes too long to start"}
		}
		return false, nil
	}
	defer release()
	// Another client may have seen to it since this one was told otherwise.
	_, err = call(p, c, [][]byte{[]byte(VerbPing)})
	var e *Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &e) && e.older:
		if err := stop(p, c); err != nil {
			return true, err
		}
	case !e.absent:
		return true, err
	}
	return true, launch(p, exe, c)
}

// Stop asks the daemon at p, of whatever version, to stop and waits until its
// socket is gone. It is no error when no daemon runs.
func Stop(p Place, within time.Duration) error {
	return stop(p, newClock(within, nil))
}

func stop(p Place, c *clock) error {
	if p.Shared && p.holder() == 0 { // asking an init system's socket would start one
		return nil
	}
	if up, err := p.listening(c); !up {
		return err
	}
	was := 0
	if p.Shared {
		was = p.holder()
	}
	var old unix.Stat_t
	if unix.Lstat(p.Socket, &old) != nil {
		return nil
	}
	_, err := call(p, c, [][]byte{[]byte(VerbStop)})
	var e *Error
	if errors.As(err, &e) && e.Status != BadVersion && !e.absent {
		return err
	}
	var deaf time.Time // since when it does not listen
	for deaf.IsZero() || time.Since(deaf) < leaveTime {
		var now unix.Stat_t
		// The next daemon's socket may well have the number of the last one's.
		if unix.Lstat(p.Socket, &now) != nil || now.Ino != old.Ino || now.Ctim != old.Ctim || p.Shared && p.holder() != was {
			return nil
		}
		if deaf.IsZero() && !p.Shared {
			if up, err := p.listening(c); !up && err == nil {
				deaf = time.Now()
			}
		}
		if c.pause() != nil {
			return &Error{Status: Unavailable, Message: "the daemon does not stop"}
		}
	}
	return nil
}

// holder is the pid of the daemon that holds the lock, 0 where none does, -1 where
// it is not known yet.
func (p Place) holder() int {
	fd, err := retryInt(func() (int, error) { return unix.Open(p.Lock, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0) })
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if retry(func() error { return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) }) != unix.EWOULDBLOCK {
		return 0
	}
	text := make([]byte, 32)
	n, err := retryInt(func() (int, error) { return unix.Read(fd, text) })
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return -1
	}
	return pid
}

// leaveTime is how long stop waits for the socket of a daemon that listens no more
// to go: one that died without removing it leaves it to the next.
const leaveTime = time.Second

// tryStarting takes the lock of the client that starts the daemon. release is nil
// where another client has it.
func (p Place) tryStarting() (release func(), err error) {
	fd, err := retryInt(func() (int, error) {
		return unix.Open(p.Lock+".start", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	})
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return func() { unix.Close(fd) }, nil
	}
	unix.Close(fd)
	if err == unix.EWOULDBLOCK {
		return nil, nil
	}
	return nil, err
}

// listening says whether a daemon takes connections. An error is one that no
// start could mend.
func (p Place) listening(c *clock) (bool, error) {
	fd, _, err := connect(p, c)
	if err == nil {
		unix.Close(fd)
		return true, nil
	}
	var e *Error
	if errors.As(err, &e) && e.absent {
		return false, nil
	}
	return false, err
}

// launch spawns the daemon and waits for what it says.
func launch(p Place, exe string, c *clock) error {
	r, w, err := newPipe()
	if err != nil {
		return startFailed(err)
	}
	defer unix.Close(r)
	pid, err := spawn(p, exe, w)
	unix.Close(w)
	if err != nil {
		return startFailed(err)
	}
	report, err := readReport(r, c)
	if err != nil { // hung on its way up
		unix.Kill(pid, unix.SIGKILL)
	}
	retry(func() error { _, err := unix.Wait4(pid, nil, 0, nil); return err })
	switch {
	case err != nil:
		return &Error{Status: Unavailable, Message: "the daemon takes too long to start"}
	case report == ReadyUp:
		return nil
	case report == ReadyOther:
		return awaitOther(p, c)
	case report == "":
		return &Error{Status: Unavailable, Message: "the daemon died while it started", Hint: "keyrack daemon run"}
	}
	return &Error{Status: Unavailable, Message: "the daemon can't start: " + clean(strings.TrimSuffix(report, "\n"))}
}

func startFailed(err error) error {
	return &Error{Status: Unavailable, Message: "can't start the daemon: " + err.Error()}
}

// readReport reads what the daemon says about its start, to the first of its two
// words or to the end.
func readReport(r int, c *clock) (string, error) {
	if err := unix.SetNonblock(r, true); err != nil {
		return "", err
	}
	s := &socket{fd: r, clock: c}
	var report []byte
	buf := make([]byte, maxReport)
	for len(report) < maxReport {
		n, err := s.Read(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		report = append(report, buf[:n]...)
		if string(report) == ReadyUp || string(report) == ReadyOther {
			break
		}
	}
	return string(report), nil
}

// awaitOther waits until the daemon that holds the lock already listens.
func awaitOther(p Place, c *clock) error {
	for {
		if up, err := p.listening(c); up || err != nil {
			return err
		}
		if c.pause() != nil {
			return otherIsDeaf(p)
		}
	}
}

// otherIsDeaf is for a daemon that holds the lock but has no socket any more:
// something removed its file.
func otherIsDeaf(p Place) error {
	e := &Error{Status: Unavailable, Message: "another daemon holds " + p.Lock + " but does not listen"}
	text, err := os.ReadFile(p.Lock)
	if pid, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil && pid > 1 {
		e.Hint = "kill " + strconv.Itoa(pid)
	}
	return e
}

// spawn starts the daemon's first process, which starts the daemon proper and
// ends, so that a program which takes this process's place has no child.
func spawn(p Place, exe string, ready int) (int, error) {
	null, err := retryInt(func() (int, error) { return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0) })
	if err != nil {
		return 0, err
	}
	defer unix.Close(null)
	inherit := shield()
	defer inherit()
	args := []string{exe, "daemon", "run"}
	if p.Shared { // its socket may be gone by now, by which it would know
		args = append(args, "--shared")
	}
	return syscall.ForkExec(exe, args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(CleanEnvironment(os.Environ()), ReadyVariable+"=3"),
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(ready)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// shield keeps the descriptors that this process inherited, such as a script's
// own lock, from the daemon. They get their inheritance back from the function
// that it returns, for the program that may take this process's place.
func shield() (undo func()) {
	entries, err := os.ReadDir(fdDir)
	if err != nil {
		return func() {}
	}
	var shielded []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.CloseOnExec(fd)
			shielded = append(shielded, fd)
		}
	}
	return func() {
		for _, fd := range shielded {
			unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
		}
	}
}

// keepVariables and keepPrefixes are all that a daemon sees of the environment
// of whoever happened to start it.
var (
	keepVariables = []string{"HOME", "USER", "LOGNAME", "PATH", "LANG", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY",
		// for package source's tools:
		"GNUPGHOME", "KUBECONFIG", "PASSWORD_STORE_DIR", "SOPS_AGE_KEY_FILE",
		"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
		"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_DEFAULT_PROFILE", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_PROFILE", "AWS_REGION",
		"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_SHARED_CREDENTIALS_FILE", "AWS_USE_FIPS_ENDPOINT", "AWS_WEB_IDENTITY_TOKEN_FILE"}
	keepPrefixes = []string{"LC_", "XDG_",
		"AWS_ENDPOINT_URL", "AZURE_", "BAO_", "BITWARDENCLI_", "BWS_", "BW_", "CLOUDSDK_", "DOPPLER_", "INFISICAL_", "OP_", "VAULT_"}
)

// CleanEnvironment is the part of environ that a daemon gets.
func CleanEnvironment(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		keep := false
		for _, k := range keepVariables {
			keep = keep || name == k
		}
		for _, k := range keepPrefixes {
			keep = keep || strings.HasPrefix(name, k)
		}
		if keep {
			kept = append(kept, entry)
		}
	}
	return kept
}
