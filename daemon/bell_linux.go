package daemon

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// openBell makes the bell of p, in a directory that the caller has made, in the place
// of one that a daemon left behind. unlink removes it.
func openBell(p wire.Place) (bell *os.File, unlink func(), err error) {
	if err := unix.Unlink(p.Bell); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, nil, os.NewSyscallError("unlink", err)
	}
	if err := unix.Mkfifo(p.Bell, 0o600); err != nil {
		return nil, nil, os.NewSyscallError("mkfifo", err)
	}
	// Open for writing too, so that it has no end when a shell closes it.
	bell, err = os.OpenFile(p.Bell, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	own, err := bell.Stat()
	if err != nil {
		bell.Close()
		return nil, nil, err
	}
	return bell, func() {
		if now, err := os.Lstat(p.Bell); err == nil && os.SameFile(own, now) {
			os.Remove(p.Bell)
		}
	}, nil
}

// rings tells heard of each process id that is written to bell, a line each, until
// bell is closed.
func rings(bell *os.File, heard func(pid int)) {
	buf := make([]byte, 0, 4096)
	for {
		n, err := bell.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		for {
			line, rest, whole := bytes.Cut(buf, []byte("\n"))
			if !whole {
				break
			}
			if pid, err := strconv.Atoi(string(line)); err == nil && pid > 0 {
				heard(pid)
			}
			buf = append(buf[:0], rest...)
		}
		if len(buf) == cap(buf) { // no process id is that long
			buf = buf[:0]
		}
	}
}

// holdOwn gets the handle of process pid, which has to be of this user in all its
// user ids.
func holdOwn(pid int) (handle, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, ids, _ := bytes.Cut(status, []byte("\nUid:\t"))
	ids, _, _ = bytes.Cut(ids, []byte("\n"))
	uid := strconv.Itoa(own)
	if err != nil || string(ids) != strings.Join([]string{uid, uid, uid, uid}, "\t") {
		unix.Close(pidfd)
		return -1, unix.EPERM
	}
	return handle(pidfd), nil
}

// The descriptors in which a shell has its question, and takes the answer.
const (
	questionFD = "7"
	answerFD   = "8"
)

var errNoQuestion = errors.New("no question")

// visit takes a copy of the question that process pid asks, and opens its pipe for
// the answer. The question stays where it is, and the pipe that it is in is looked at
// before and after the answer's is opened: so both are there, for as long as that is
// so, for this question. Nothing else of that process is opened, nor read away.
func visit(pid int) (question string, answer int, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	in, err := openPipe(dir+questionFD, unix.O_RDONLY)
	if err != nil {
		return "", -1, err
	}
	defer unix.Close(in.fd)
	if question, err = copyOf(in.fd); err != nil {
		return "", -1, err
	}
	if !strings.HasPrefix(question, questionMark) {
		return "", -1, errNoQuestion
	}
	out, err := openPipe(dir+answerFD, unix.O_WRONLY)
	if err != nil {
		return "", -1, err
	}
	if now, err := os.Readlink(dir + questionFD); err != nil || now != in.name {
		unix.Close(out.fd)
		return "", -1, errNoQuestion
	}
	return question, out.fd, nil
}

// openedPipe is a pipe of another process, and its name, which no other one has as
// long as it is open.
type openedPipe struct {
	fd   int
	name string
}

// openPipe opens a descriptor of another process if it is a pipe without a name in
// the file system: what else it may be is not touched.
func openPipe(path string, how int) (openedPipe, error) {
	name, err := os.Readlink(path)
	if err != nil || !strings.HasPrefix(name, "pipe:[") {
		return openedPipe{}, errNoQuestion
	}
	fd, err := unix.Open(path, how|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return openedPipe{}, err
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || name != "pipe:["+strconv.FormatUint(st.Ino, 10)+"]" {
		unix.Close(fd)
		return openedPipe{}, errNoQuestion
	}
	return openedPipe{fd, name}, nil
}

// copyOf is what is in a pipe, which stays there.
func copyOf(pipe int) (string, error) {
	var copied [2]int
	if err := unix.Pipe2(copied[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return "", err
	}
	defer unix.Close(copied[0])
	defer unix.Close(copied[1])
	if _, err := unix.Tee(pipe, copied[1], maxQuestion, unix.SPLICE_F_NONBLOCK); err != nil {
		return "", err
	}
	buf := make([]byte, maxQuestion)
	n, err := ignoringEINTR(unix.Read, copied[0], buf)
	return string(buf[:n]), err
}

// maxQuestion is what a pipe takes in one piece.
const maxQuestion = 4096

// pipeRoom is what goes into pipe fd at once, with what a shell has put there: 0
// where that is unknown.
func pipeRoom(fd int) int {
	size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return 0
	}
	return size - os.Getpagesize()
}
