package daemon

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// listenSocket is a socket whose mode is set before bind gives it a name: bind
// takes it over, narrowed by the umask.
func listenSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Fchmod(fd, 0o600); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// handle is a pidfd: it means one process, never a later one of its pid.
type handle int

// hold gets the handle of the process that connected. Kernels before 6.5 have
// none; there it is of whoever has the pid by now, which same can't tell.
func hold(fd, pid int) (handle, error) {
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) {
		pidfd, err = unix.PidfdOpen(pid, 0)
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // reaped
		return -1, errEnded
	}
	return handle(pidfd), err
}

func (h handle) alive() bool {
	fds := []unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 0
		}
	}
}

// identity is the number of a process that no later one has until the machine
// starts again: that of the inode of its pidfd, since Linux 6.9.
type identity uint64

func (h handle) identity() (identity, bool) {
	var st unix.Stat_t
	if !numbered() || unix.Fstat(int(h), &st) != nil {
		return 0, false
	}
	return identity(st.Ino), true
}

// numbered says whether pidfds have inodes of their own. Before, all shared one.
var numbered = sync.OnceValue(func() bool {
	const magic = 0x50494446 // PID_FS_MAGIC
	own, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(own)
	var fs unix.Statfs_t
	return unix.Fstatfs(own, &fs) == nil && fs.Type == magic
})

func (h handle) close() { unix.Close(int(h)) }

// program tells one file that runs from another. The zero value is unknown: of a
// process that is not dumpable, or of root's, the kernel does not tell.
type program struct{ dev, ino uint64 }

func (p program) file() (dev, ino uint64) { return p.dev, p.ino }

func programOf(pid int) program {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(pid)+"/exe", &st) != nil {
		return program{}
	}
	return program{uint64(st.Dev), st.Ino}
}

// processStart tells when process pid started, in clock ticks since boot, and
// whose it is. A recycled pid has another start.
func processStart(pid int) (start string, uid int, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return "", 0, err
	}
	// The command's name is in parentheses and may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", 0, unix.ESRCH
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", 0, err
	}
	return fields[19], int(st.Uid), nil
}

// urge sends SIGURG to process pid if it is still the one that started at start.
func urge(pid int, start string) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	now, _, err := processStart(pid)
	if err != nil {
		return err
	}
	if now != start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(pidfd, unix.SIGURG, nil, 0)
}

// bootTime is the time since boot, suspend included.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("no CLOCK_BOOTTIME: " + err.Error()) // Linux has had it since 2.6.39
	}
	return time.Duration(ts.Nano())
}

func mtime(st unix.Stat_t) unix.Timespec { return st.Mtim }
func ctime(st unix.Stat_t) unix.Timespec { return st.Ctim }
