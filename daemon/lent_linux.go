package daemon

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory says why a file in dir would not be in memory alone. What is there may go to
// swap, as everything of the command that reads it may.
func inMemory(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if int64(st.Type) != unix.TMPFS_MAGIC && int64(st.Type) != unix.RAMFS_MAGIC {
		return errors.New(dir + ` is no tmpfs: set XDG_RUNTIME_DIR to one, or take as = "file"`)
	}
	return nil
}

// whenEnded calls f once the process has ended, unless stop is called before: a pidfd
// can be read then (pidfd_open(2)).
func (h handle) whenEnded(f func()) (stop func(), err error) {
	fd, err := unix.FcntlInt(uintptr(h), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // which puts it on the runtime's poller
		unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "process")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	go func() {
		defer file.Close()
		if raw.Read(func(fd uintptr) bool { return !handle(fd).alive() }) == nil {
			f()
		}
	}()
	return func() { file.Close() }, nil
}
