package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// openAsks makes the directory asks of p, empty, and tells of the files that are closed
// in it.
func openAsks(p wire.Place) (closed *os.File, err error) {
	if err := emptyAsks(p); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	closed = os.NewFile(uintptr(fd), "asks")
	if _, err := unix.InotifyAddWatch(fd, p.Asks, unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW); err != nil {
		closed.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return closed, nil
}

// emptyAsks leaves an empty directory in asks's place, which lies in one that nobody else
// can change.
func emptyAsks(p wire.Place) error {
	if info, err := os.Lstat(p.Asks); err != nil || info.Mode() != fs.ModeDir|0o700 {
		return errors.Join(os.RemoveAll(p.Asks), os.Mkdir(p.Asks, 0o700))
	}
	entries, err := os.ReadDir(p.Asks)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(p.Asks+"/"+entry.Name()))
	}
	return err
}

// rings tells heard of each file in asks whose name is a process id, until closed is
// closed.
func rings(closed *os.File, heard func(pid int)) {
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

// holdProcess gets the handle of process pid.
func holdProcess(pid int) (handle, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	return handle(pidfd), err
}

// mayRing says whether process pid may: it has to be of this user in all its user ids, and
// in no sandbox, where it could not connect either. What tells one that can't make itself a
// socket is that it can't have new privileges: so it is with all that keyrack sandbox runs.
func mayRing(pid int) error {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return err
	}
	uid := strconv.Itoa(own)
	if statusLine(status, "Uid") != strings.Join([]string{uid, uid, uid, uid}, "\t") || statusLine(status, "NoNewPrivs") != "0" {
		return unix.EPERM
	}
	return nil
}

// statusLine is a line of /proc/PID/status.
func statusLine(status []byte, name string) string {
	_, line, _ := bytes.Cut(status, []byte("\n"+name+":\t"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return string(line)
}

// The descriptors in which bash has its question, and takes the answer.
const (
	questionFD = "7"
	answerFD   = "8"
)

// maxOpen bounds how many descriptors of a process are looked at.
const maxOpen = 256

// asking is a process with a question in its descriptor at dir and fd, which is in.
type asking struct {
	dir, fd string
	in      openedPipe
}

// findQuestion takes a copy of the question that process pid asks, which stays where it
// is. The caller closes a.
func findQuestion(pid int) (a asking, question string, err error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return a, "", err
	}
	defer dir.Close()
	a = asking{dir: dir.Name() + "/", fd: questionFD}
	if a.in, question, err = questionIn(a.dir + a.fd); err == nil {
		return a, question, nil
	}
	names, _ := dir.Readdirnames(maxOpen)
	for _, a.fd = range names {
		if a.in, question, err = questionIn(a.dir + a.fd); err == nil {
			return a, question, nil
		}
	}
	return a, "", errNoQuestion
}

func (a asking) close() { unix.Close(a.in.fd) }

// openAnswer opens the pipe for the answer, and nothing else of the process for writing.
// The question is looked at once more when it is open: so both are there, for as long as
// that is so, for this question.
func (a asking) openAnswer(shell string) (fd int, err error) {
	to := a.fd
	if shell == bash {
		to = answerFD
	}
	out, err := openPipe(a.dir+to, unix.O_WRONLY)
	if err != nil {
		return -1, err
	}
	if now, err := os.Readlink(a.dir + a.fd); err != nil || now != a.in.name || shell != bash && out.name != now {
		unix.Close(out.fd)
		return -1, errNoQuestion
	}
	return out.fd, nil
}

// questionIn opens the pipe at path if a question is in it, which is one line, and nothing
// else: values, such as those of an answer behind it, get into no string.
func questionIn(path string) (in openedPipe, question string, err error) {
	if in, err = openPipe(path, unix.O_RDONLY); err != nil {
		return in, "", err
	}
	var buf [maxQuestion]byte
	defer clear(buf[:])
	n, err := copyOf(in.fd, buf[:len(questionMark)])
	if err == nil && string(buf[:n]) == questionMark {
		n, err = copyOf(in.fd, buf[:])
	}
	if err == nil && (!bytes.HasPrefix(buf[:n], []byte(questionMark)) || bytes.IndexByte(buf[:n], '\n') != n-1) {
		err = errNoQuestion
	}
	if err != nil {
		unix.Close(in.fd)
		return in, "", err
	}
	return in, string(buf[:n]), nil
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

// copyOf copies to buf what is in a pipe, which stays there.
func copyOf(pipe int, buf []byte) (n int, err error) {
	var copied [2]int
	if err := unix.Pipe2(copied[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer unix.Close(copied[0])
	defer unix.Close(copied[1])
	if _, err := unix.Tee(pipe, copied[1], len(buf), unix.SPLICE_F_NONBLOCK); err != nil {
		return 0, err
	}
	return ignoringEINTR(unix.Read, copied[0], buf)
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
