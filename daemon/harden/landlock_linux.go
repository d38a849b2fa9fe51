package harden

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// oldest is the first version of Landlock, that of Linux 6.2, that keeps a program from
// cutting off files that it may not write.
const oldest = 3

// What a rule allows. Of a file, the kernel takes no right that only a directory has.
const (
	readFile  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	readAll   = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	writeAll  = writeFile | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
)

// devices are what programs need of /dev, which holds the disks and the person's other
// terminals as well.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// landlock is a set of rules that is being made.
type landlock struct {
	fd     int
	rights uint64 // those that this kernel knows
	hidden []string
}

// ruleset makes the rules of c and returns their descriptor. A rule allows what is
// below a path and none takes anything back, so what is hidden is left out: beside each
// directory above a hidden one, everything is allowed one by one.
func (c Confinement) ruleset() (fd int, err error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return -1, fmt.Errorf("this kernel has no Landlock (%w): %w", errno, errors.ErrUnsupported)
	}
	if version < oldest {
		return -1, fmt.Errorf("this kernel's Landlock is too old, version %d: it takes %d (Linux 6.2): %w", version, oldest, errors.ErrUnsupported)
	}
	l := &landlock{rights: readAll | writeAll}
	attr := unix.LandlockRulesetAttr{}
	if version < 5 {
		l.rights &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	attr.Handled_access_fs = l.rights
	made, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return -1, fmt.Errorf("landlock: %w", errno)
	}
	l.fd = int(made)
	if err := l.fill(c); err != nil {
		unix.Close(l.fd)
		return -1, err
	}
	return l.fd, nil
}

// Refuses is the reason why a directory that nobody named, such as the working one, can't
// be in Write: it holds, or lies in, what is Closed or Hidden.
func (c Confinement) Refuses(path string) error {
	mounts, err := mounted()
	if err != nil {
		return err
	}
	return conflict(resolve(path), everywhere(append(slices.Clone(c.Closed), c.Hidden...), mounts))
}

func conflict(path string, hidden []string) error {
	if at := slices.IndexFunc(hidden, func(h string) bool { return below(h, path) || below(path, h) }); at >= 0 {
		return &HiddenError{Path: path, Hidden: hidden[at]}
	}
	return nil
}

func (l *landlock) fill(c Confinement) error {
	mounts, err := mounted()
	if err != nil {
		return err
	}
	closed := everywhere(c.Closed, mounts)
	l.hidden = slices.Concat(closed, everywhere(c.Hidden, mounts), []string{"/dev"})
	for i, path := range slices.Concat(c.Read, c.Write) {
		path, rights := resolve(path), uint64(readAll)
		if i >= len(c.Read) {
			rights |= writeAll
		}
		if err := errors.Join(conflict(path, closed), l.allow(path, rights)); err != nil {
			return err
		}
	}
	for _, device := range append(terminals(), devices...) {
		if err := l.allow(device, readAll|writeFile); err != nil {
			return err
		}
	}
	if conflict("/dev/shm", closed) == nil { // where XDG_RUNTIME_DIR may lie, too
		if err := l.allow("/dev/shm", readAll|writeAll); err != nil {
			return err
		}
	}
	if err := l.allow("/", unix.LANDLOCK_ACCESS_FS_READ_DIR); err != nil { // names alone
		return err
	}
	return l.readable("/")
}

// terminals are those that are this process's standard files.
func terminals() (all []string) {
	for fd := range 3 {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			continue
		}
		if path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
			all = append(all, path)
		}
	}
	return all
}

// readable allows to read dir, but for what is hidden.
func (l *landlock) readable(dir string) error {
	if slices.ContainsFunc(l.hidden, func(hidden string) bool { return below(dir, hidden) }) {
		return nil
	}
	if !slices.ContainsFunc(l.hidden, func(hidden string) bool { return below(hidden, dir) }) {
		return l.allow(dir, readAll)
	}
	entries, err := os.ReadDir(dir)
	if err != nil { // what this process can't read, the program can't either
		return nil
	}
	for _, entry := range entries {
		if entry.Type()&os.ModeSymlink != 0 { // allowed where what it leads to is
			continue
		}
		if err := l.readable(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// allow adds a rule for path, if there is such a file.
func (l *landlock) allow(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil // so it is not allowed
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= readFile | writeFile
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights & l.rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(l.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %s: %w", path, errno)
	}
	return nil
}

// below says whether path is dir or lies in it.
func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// resolve is path without symbolic links, as far as it exists.
func resolve(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil || path == "/" {
		return real
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}

// mount is a line of mountinfo: what of a device is seen where.
type mount struct{ device, root, point string }

func mounted() (all []mount, err error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("where file systems are mounted: %w", err)
	}
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 {
			all = append(all, mount{f[2], plain.Replace(f[3]), plain.Replace(f[4])})
		}
	}
	return all, nil
}

// everywhere is all paths by which what lies at paths can be reached.
func everywhere(paths []string, mounts []mount) (all []string) {
	for _, path := range paths {
		all = append(all, elsewhere(resolve(path), mounts)...)
	}
	return all
}

// elsewhere is all paths by which what lies at path can be reached, itself first: a
// part of a file system may be mounted at several places.
func elsewhere(path string, mounts []mount) []string {
	all := []string{path}
	on := -1
	for i, m := range mounts { // of several at one place, the last one is seen
		if below(path, m.point) && (on < 0 || len(m.point) >= len(mounts[on].point)) {
			on = i
		}
	}
	if on < 0 {
		return all
	}
	inside := filepath.Join(mounts[on].root, strings.TrimPrefix(path, mounts[on].point))
	for _, m := range mounts {
		other := m.point // a part of what lies at path
		switch {
		case m.device != mounts[on].device || !below(m.root, inside) && !below(inside, m.root):
			continue
		case below(inside, m.root):
			other = filepath.Join(m.point, strings.TrimPrefix(inside, m.root))
		}
		if !slices.Contains(all, other) {
			all = append(all, other)
		}
	}
	return all
}
