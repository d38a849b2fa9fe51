package daemon

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
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

// sessionOf is the audit session id of the process at the other end of conn. It
// is an error when that process has ended, since its pid may be another's by now;
// kernels before 6.5 can't tell, there it is read without that guard.
func sessionOf(conn *net.UnixConn, pid int) (string, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	pidfd := -1
	var opt error
	err = raw.Control(func(fd uintptr) {
		pidfd, opt = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	})
	if err != nil {
		return "", err
	}
	if opt != nil {
		if errors.Is(opt, unix.ENOPROTOOPT) {
			return wire.SessionOf(pid), nil
		}
		return "", opt
	}
	defer unix.Close(pidfd)
	session := wire.SessionOf(pid)
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err != nil || n > 0 {
		return "", unix.ESRCH
	}
	return session, nil
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
