package daemon

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootAlarm is an alarm on CLOCK_BOOTTIME, by a timerfd that the runtime's poller
// waits for: it is due on time also where the machine slept, and wakes nobody
// before. A timer of Go's is on CLOCK_MONOTONIC, which stops while it sleeps.
type bootAlarm struct {
	mu   sync.Mutex
	file *os.File // nil once it is closed
	fd   int
}

// newAlarm is an alarm on the clock of bootTime.
func newAlarm(f func()) (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "alarm")
	go func() {
		count := make([]byte, 8)
		for {
			if _, err := file.Read(count); err != nil {
				return
			}
			f()
		}
	}()
	return &bootAlarm{file: file, fd: fd}, nil
}

func (a *bootAlarm) set(at time.Duration) {
	a.setTime(unix.NsecToTimespec(max(int64(at), 1))) // 0 would be none
}

func (a *bootAlarm) unset() { a.setTime(unix.Timespec{}) }

func (a *bootAlarm) setTime(at unix.Timespec) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return
	}
	if err := unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: at}, nil); err != nil {
		panic("setting a timer: " + err.Error()) // only for arguments that are none
	}
}

func (a *bootAlarm) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file.Close()
	a.file = nil
}
