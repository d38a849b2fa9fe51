package harden

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shut makes the process undumpable, and says whether it was so from its first
// instruction on.
func shut() (unreadable bool, err error) {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return false, fmt.Errorf("asking who may read this process: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return false, fmt.Errorf("closing this process to others: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return false, fmt.Errorf("forbidding cores: %w", err)
	}
	// From here on nobody can attach any more; who did before is seen.
	return dumpable != 1, traced()
}

// traced is ErrTraced, with the debugger's name, where there is one.
func traced() error {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("looking for a debugger: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), "\nTracerPid:")
	line, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return errors.New("looking for a debugger: /proc/self/status does not tell")
	}
	if pid == 0 {
		return nil
	}
	comm, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return fmt.Errorf("%w by %q (pid %d): refused", ErrTraced, strings.TrimSpace(string(comm)), pid)
}

// runCopy is run from a sealed copy in memory with mode 0111. A process that runs a
// file which it may not read is undumpable from its first instruction: there is no
// moment in which another process could open its memory.
func runCopy(args, environ []string, files []*os.File) error {
	copied, err := copyProgram()
	if err != nil {
		return err
	}
	defer copied.Close()
	if err := bindMode(); err != nil {
		return err
	}
	if err := run("/proc/self/fd/"+strconv.Itoa(int(copied.Fd())), args, environ, files); err != nil {
		return fmt.Errorf("running a copy in memory: %w", err)
	}
	return nil
}

// ownKeyring gives this thread, and the program that it runs, a session keyring that
// no other process has. It returns its number, or why there is none.
func ownKeyring() string {
	id, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if err != nil {
		return "keyctl: " + err.Error()
	}
	return strconv.Itoa(id)
}

// unheard leaves to the kernel, which ignores them, the signals that come unasked: that a
// child ended, and what wakes other programs. Go's handlers have nothing to do for them,
// and one that runs while a value is copied leaves the registers, with a piece of it, on
// the stack that signals have.
func unheard() error {
	var standard [4]uint64 // struct sigaction of SIG_DFL, which is all zeros (rt_sigaction(2))
	for _, signal := range []unix.Signal{unix.SIGCHLD, unix.SIGURG} {
		if _, _, errno := unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&standard)), 0, 8, 0, 0); errno != 0 {
			return fmt.Errorf("leaving signals to the kernel: %w", errno)
		}
	}
	return nil
}

// LeaveKeyring gives this thread, and the program that it starts, an empty session
// keyring. Where the kernel gives none, there is nothing to leave.
func LeaveKeyring() { ownKeyring() }

// copyProgram makes the copy, which is closed when the next program starts.
func copyProgram() (*os.File, error) {
	program, err := os.Open(Self())
	if err != nil {
		return nil, fmt.Errorf("reading the program: %w", err)
	}
	defer program.Close()
	copied, err := SealedProgram("keyrack", program, 0o111)
	if err != nil {
		return nil, fmt.Errorf("making a copy in memory: %w", err)
	}
	return copied, nil
}

// SealedProgram is a file in memory of the mode given (memfd_create(2)), called name,
// with what text has: one that can be executed, and that nobody can change. The caller
// closes it: what is open for writing can't be executed.
func SealedProgram(name string, text io.Reader, mode uint32) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all can be executed
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(file, text)
	if err == nil {
		err = unix.Fchmod(fd, mode)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// bindMode takes from this thread what lets root read a file of mode 0111. The
// next program has it again.
func bindMode() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	data[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}

// run is Again from the file at path.
func run(path string, args, environ []string, files []*os.File) error {
	if files == nil {
		return syscall.Exec(path, args, environ)
	}
	return startChild(path, args, environ, files)
}

// Self is the path by which this process starts its own program again: what it
// runs from itself. From an unreadable process that is unreadable, too.
func Self() string { return "/proc/self/exe" }

// name gives the process its name back, which is the descriptor's number after it
// was started from one.
func name() {
	pid := strconv.Itoa(os.Getpid())
	os.WriteFile("/proc/self/task/"+pid+"/comm", []byte("keyrack"), 0) // for people alone
}

func replace(fd, old int) error { return unix.Dup3(fd, old, 0) }
