package daemon

import "golang.org/x/sys/unix"

// undumpable keeps other processes of this user from reading this one's memory,
// environment and descriptors. A process that looked in before this call, in the
// first milliseconds, still does.
func undumpable() error {
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// selfPath is the running program, also when its file has been replaced.
func selfPath() (string, error) { return "/proc/self/exe", nil }
