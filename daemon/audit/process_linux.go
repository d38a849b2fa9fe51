package audit

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Look tells what the system knows of process pid, nothing but its pid where it
// has ended.
func Look(pid int) Process {
	p := Process{PID: pid, UID: os.Geteuid()}
	dir := "/proc/" + strconv.Itoa(pid)
	p.Exe = exe(dir)
	stat := readStat(dir)
	p.Command, p.ParentPID, p.TTY = stat.command, stat.parent, stat.tty
	p.Session = session(dir)
	return p
}

// WithParent is p with the name of the command that started it.
func (p Process) WithParent() Process {
	if p.ParentPID > 0 {
		p.Parent = readStat("/proc/" + strconv.Itoa(p.ParentPID)).command
	}
	return p
}

// Below says whether process pid is one of the processes that led to this one.
func (p Process) Below(pid int) bool {
	for next, depth := p.ParentPID, 0; next > 1 && depth < maxDepth; depth++ {
		if next == pid {
			return true
		}
		next = readStat("/proc/" + strconv.Itoa(next)).parent
	}
	return false
}

// maxDepth is how far a shell's client may be from its shell.
const maxDepth = 8

// exe is the program that a process runs, "" where the kernel doesn't tell, as for
// another user's.
func exe(dir string) string {
	path := make([]byte, 1024)
	n, err := unix.Readlink(dir+"/exe", path)
	if err != nil {
		return ""
	}
	return string(path[:n])
}

// session is the login session of a process as the kernel's audit knows it, "" for
// none.
func session(dir string) string {
	id := strings.TrimSpace(readSmall(dir + "/sessionid"))
	if id == strconv.FormatUint(1<<32-1, 10) {
		return ""
	}
	return id
}

// stat is what a process's stat file says.
type stat struct {
	command, tty string
	parent       int
}

func readStat(dir string) stat { return parseStat(readSmall(dir + "/stat")) }

// readSmall is the beginning of a file of the kernel's, "" where there is none.
func readSmall(path string) string {
	var buf [1024]byte
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// parseStat reads "PID (COMMAND) STATE PPID PGRP SESSION TTY …". The command may
// hold anything, also parentheses.
func parseStat(text string) stat {
	from, to := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return stat{}
	}
	s := stat{command: text[from+1 : to]}
	fields := strings.Fields(text[to+1:])
	if len(fields) > 4 {
		s.parent, _ = strconv.Atoi(fields[1])
		if device, err := strconv.ParseInt(fields[4], 10, 32); err == nil {
			s.tty = ttyName(uint64(uint32(device)))
		}
	}
	return s
}

// ttyName names a terminal by its device as /proc writes it, "" for none.
func ttyName(device uint64) string {
	major, minor := device>>8&0xfff, device&0xff|device>>12&0xfff00
	switch {
	case device == 0:
		return ""
	case major >= 136 && major <= 143: // the kernel's range of pseudo terminals
		return "pts/" + strconv.FormatUint((major-136)<<8|minor, 10)
	case major == 4 && minor < 64:
		return "tty" + strconv.FormatUint(minor, 10)
	case major == 4:
		return "ttyS" + strconv.FormatUint(minor-64, 10)
	}
	return strconv.FormatUint(major, 10) + ":" + strconv.FormatUint(minor, 10)
}

// Peers remembers what it has looked up, for the processes that ask again and
// again: shells. The zero value is ready.
type Peers struct {
	mu    sync.Mutex
	known map[int]peer
}

// peer is a process, with a descriptor that tells it from a later one of its pid,
// and the program that it ran.
type peer struct {
	pidfd    int
	dev, ino uint64
	Process
}

// maxPeers bounds what is remembered, and the descriptors for it.
const maxPeers = 64

// Look is Look, but does not ask again about a process that still lives and runs
// the same program, the file ino of the device dev; 0 where that is unknown. That
// it started the same program anew, perhaps under another name, can't be seen.
func (ps *Peers) Look(pid int, dev, ino uint64) Process {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p, ok := ps.known[pid]; ok {
		if p.dev == dev && p.ino == ino && alive(p.pidfd) {
			return p.Process
		}
		ps.forget(pid)
	}
	if ino == 0 {
		return Look(pid)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Look(pid)
	}
	p := Look(pid)
	if !alive(pidfd) || p.Exe == "" {
		unix.Close(pidfd)
		return p
	}
	ps.keep(pid, peer{pidfd, dev, ino, p})
	return p
}

func (ps *Peers) keep(pid int, p peer) {
	for other, old := range ps.known {
		if len(ps.known) < maxPeers {
			break
		}
		if !alive(old.pidfd) {
			ps.forget(other)
		}
	}
	for other := range ps.known { // any one: all of them live
		if len(ps.known) < maxPeers {
			break
		}
		ps.forget(other)
	}
	if ps.known == nil {
		ps.known = map[int]peer{}
	}
	ps.known[pid] = p
}

func (ps *Peers) forget(pid int) {
	unix.Close(ps.known[pid].pidfd)
	delete(ps.known, pid)
}

// Close forgets everything.
func (ps *Peers) Close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for pid := range ps.known {
		ps.forget(pid)
	}
}

// alive says whether the process of a pidfd has not ended.
func alive(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}
