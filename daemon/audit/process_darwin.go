package audit

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Look tells what the system knows of process pid, nothing but its pid where it
// has ended.
func Look(pid int) Process {
	p := Process{PID: pid, UID: os.Geteuid(), Exe: exe(pid)}
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(info.Proc.P_pid) != pid {
		return p
	}
	p.Command = unix.ByteSliceToString(info.Proc.P_comm[:])
	p.ParentPID = int(info.Eproc.Ppid)
	p.TTY = ttyName(uint32(info.Eproc.Tdev))
	return p
}

// WithParent is p with the name of the command that started it.
func (p Process) WithParent() Process {
	if info, err := unix.SysctlKinfoProc("kern.proc.pid", p.ParentPID); err == nil && p.ParentPID > 0 {
		p.Parent = unix.ByteSliceToString(info.Proc.P_comm[:])
	}
	return p
}

// Below says whether process pid is one of the processes that led to this one.
func (p Process) Below(pid int) bool {
	for next, depth := p.ParentPID, 0; next > 1 && depth < maxDepth; depth++ {
		if next == pid {
			return true
		}
		info, err := unix.SysctlKinfoProc("kern.proc.pid", next)
		if err != nil {
			return false
		}
		next = int(info.Eproc.Ppid)
	}
	return false
}

// maxDepth is how far a shell's client may be from its shell.
const maxDepth = 8

// exe is the program that a process runs. It stands before the arguments and the
// environment in what the system tells; that part is wiped at once.
func exe(pid int) string {
	text, err := unix.SysctlRaw("kern.procargs2", pid)
	defer clear(text)
	if err != nil || len(text) < 4 {
		return ""
	}
	path, _, _ := bytes.Cut(text[binary.Size(int32(0)):], []byte{0})
	return string(path)
}

// ttyName names a terminal by its device, "" for none.
func ttyName(device uint32) string {
	major, minor := device>>24, device&0xffffff
	switch {
	case device == 0 || device == 0xffffffff:
		return ""
	case major == 16: // pseudo terminals
		return "ttys" + strconv.Itoa(int(minor/100)) + strconv.Itoa(int(minor/10%10)) + strconv.Itoa(int(minor%10))
	}
	return strconv.Itoa(int(major)) + ":" + strconv.Itoa(int(minor))
}

// Peers looks processes up; macOS tells all of them fast.
type Peers struct{}

// Look is the function of that name.
func (*Peers) Look(pid int, _, _ uint64) Process { return Look(pid) }

// Close has nothing to do.
func (*Peers) Close() {}
