package worksite

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// times are when a file's content, and when anything of it, changed last, in
// nanoseconds.
func times(st *syscall.Stat_t) (modified, changed int64) {
	return st.Mtimespec.Nano(), st.Ctimespec.Nano()
}

// local says whether dir lies on a file system that tells of every change at once.
func local(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Flags&unix.MNT_LOCAL != 0
}
