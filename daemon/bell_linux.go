package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

var ways = []way{
	{openBell, rings, visit, func(wire.Place, int) {}},
	{openAsks, asks, search, func(p wire.Place, pid int) { os.Remove(p.Asks + "/" + strconv.Itoa(pid)) }},
}

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

// openAsks makes the directory asks of p, empty, and tells of the files that are closed
// in it.
func openAsks(p wire.Place) (closed *os.File, unlink func(), err error) {
	if err := errors.Join(os.RemoveAll(p.Asks), os.Mkdir(p.Asks, 0o700)); err != nil {
		return nil, nil, err
	}
	unlink = func() { os.RemoveAll(p.Asks) }
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		unlink()
		return nil, nil, os.NewSyscallError("inotify_init1", err)
	}
	closed = os.NewFile(uintptr(fd), "asks")
	if _, err := unix.InotifyAddWatch(fd, p.Asks, unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR); err != nil {
		closed.Close()
		unlink()
		return nil, nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return closed, unlink, nil
}

// asks tells heard of each file in asks whose name is a process id.
func asks(closed *os.File, heard func(pid int)) {
	buf := make([]byte, 4096)
	for {
		n, err := closed.Read(buf)
		if err != nil {
			return
		}
		for events := buf[:n]; len(events) >= unix.SizeofInotifyEvent; {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[unix.SizeofInotifyEvent-4:]))
			name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
			if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
				heard(pid)
			}
			events = events[end:]
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

// visit takes a copy of the question that process pid asks, and opens its pipe for
// the answer. The question stays where it is, and the pipe that it is in is looked at
// before and after the answer's is opened: so both are there, for as long as that is
// so, for this question. Nothing else of that process is opened, nor read away.
func visit(pid int) (question string, answer int, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	in, question, err := questionIn(dir + questionFD)
	if err != nil {
		return "", -1, err
	}
	defer unix.Close(in.fd)
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

// maxOpen bounds how many descriptors of a process are looked at.
const maxOpen = 256

// search is visit where the question may be in any pipe of process pid, which takes the
// answer as well.
func search(pid int) (question string, answer int, err error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return "", -1, err
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(maxOpen)
	for _, name := range names {
		path := dir.Name() + "/" + name
		in, question, err := questionIn(path)
		if err != nil {
			continue
		}
		defer unix.Close(in.fd)
		out, err := openPipe(path, unix.O_WRONLY)
		if err != nil {
			return "", -1, err
		}
		if out.name != in.name {
			unix.Close(out.fd)
			return "", -1, errNoQuestion
		}
		return question, out.fd, nil
	}
	return "", -1, errNoQuestion
}

// questionIn opens the pipe at path if a question is in it.
func questionIn(path string) (in openedPipe, question string, err error) {
	if in, err = openPipe(path, unix.O_RDONLY); err != nil {
		return in, "", err
	}
	question, err = copyOf(in.fd, len(questionMark))
	if err == nil && question == questionMark {
		question, err = copyOf(in.fd, maxQuestion)
	}
	if err == nil && !strings.HasPrefix(question, questionMark) {
		err = errNoQuestion
	}
	if err != nil {
		unix.Close(in.fd)
	}
	return in, question, err
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

// copyOf is the first size bytes of what is in a pipe, which stay there.
func copyOf(pipe, size int) (string, error) {
	var copied [2]int
	if err := unix.Pipe2(copied[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return "", err
	}
	defer unix.Close(copied[0])
	defer unix.Close(copied[1])
	if _, err := unix.Tee(pipe, copied[1], size, unix.SPLICE_F_NONBLOCK); err != nil {
		return "", err
	}
	buf := make([]byte, size)
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
