package worksite

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// times are when a file's content, and when anything of it, changed last, in
// nanoseconds.
func times(st *syscall.Stat_t) (modified, changed int64) { return st.Mtim.Nano(), st.Ctim.Nano() }

// local says whether dir lies on a file system that tells of every change at once.
// Those that are served from elsewhere answer from a cache for some seconds.
func local(dir string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return false
	}
	known := []int64{
		unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.OVERLAYFS_SUPER_MAGIC, zfsMagic, bcachefsMagic,
	}
	return slices.Contains(known, int64(fs.Type))
}

const (
	zfsMagic      = 0x2fc12fc1
	bcachefsMagic = 0xca451a4e
)
