package daemon

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// listenSocket is a socket whose mode is the umask's.
func listenSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// handle is a process by its pid and start. Between a look and an answer its pid
// may be recycled: macOS has nothing that holds on to a process of somebody else's.
type handle struct {
	pid   int
	start string
}

func hold(_, pid int) (handle, error) {
	start, _, err := processStart(pid)
	if err != nil {
		return handle{}, errEnded
	}
	return handle{pid, start}, nil
}

func (h handle) alive() bool {
	start, _, err := processStart(h.pid)
	return err == nil && start == h.start
}

// identity is none: nothing here outlives a pid.
type identity struct{}

func (handle) identity() (identity, bool) { return identity{}, false }

func (h handle) close() {}

// program is unknown: macOS has no id of the file that a process runs.
type program struct{}

func (program) file() (dev, ino uint64) { return 0, 0 }

func programOf(int) program { return program{} }

// processStart tells when process pid started and whose it is. A recycled pid has
// another start.
func processStart(pid int) (start string, uid int, err error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", 0, err
	}
	if int(info.Proc.P_pid) != pid {
		return "", 0, unix.ESRCH
	}
	at := info.Proc.P_starttime
	return strconv.FormatInt(at.Sec, 10) + "." + strconv.Itoa(int(at.Usec)), int(info.Eproc.Ucred.Uid), nil
}

// urge sends SIGURG to process pid if it is still the one that started at start;
// a pid recycled between the look and the signal gets one that it ignores.
func urge(pid int, start string) error {
	now, _, err := processStart(pid)
	if err != nil {
		return err
	}
	if now != start {
		return unix.ESRCH
	}
	return unix.Kill(pid, unix.SIGURG)
}

// bootTime is the time since boot, sleep included.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("no CLOCK_MONOTONIC: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

func mtime(st unix.Stat_t) unix.Timespec { return st.Mtim }
func ctime(st unix.Stat_t) unix.Timespec { return st.Ctim }
