package daemon

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// platformRoles are what the test binary can be besides the roles of every system.
var platformRoles = map[string]func(args []string) error{
	"attack": attack, "spin": spin, "victim": victim, "session": inSession, "leave": connectAndLeave, "heir": heir, "turn": connectAndTurn, "ask-turn": askAndTurn,
	"without": runWithout, "hog": hog,
}

// attack tries all by which a process could read another one's memory, program,
// environment or descriptors, and says of each whether it worked.
func attack(args []string) error {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	proc := "/proc/" + args[0]
	for _, name := range []string{"mem", "maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "environ", "auxv", "syscall", "stack", "io", "clear_refs",
		"task/self/mem", "task/self/environ", "map_files", "fd", "fdinfo", "exe"} {
		say("open "+name, tryOpen(proc+"/"+strings.Replace(name, "self", args[0], 1)))
	}
	for _, name := range []string{"exe", "cwd", "root", "ns/mnt", "fd/0", "fd/5"} {
		_, err := os.Readlink(proc + "/" + name)
		say("readlink "+name, err)
	}
	address, err := firstMapping()
	if err != nil {
		return err
	}
	say("process_vm_readv", vm(unix.SYS_PROCESS_VM_READV, pid, address))
	say("process_vm_writev", vm(unix.SYS_PROCESS_VM_WRITEV, pid, address))
	say("pidfd_getfd", takeDescriptor(pid))
	_, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), 1, 0, 0, 0) // KCMP_VM
	say("kcmp", errnoOrNil(errno))
	runtime.LockOSThread() // a debugger is a thread
	_, _, errno = unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
	say("PTRACE_SEIZE", errnoOrNil(errno))
	if errno == 0 {
		if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, uintptr(pid), 0, 0, 0, 0); errno != 0 {
			return errno
		}
		if err := leave(pid); err != nil {
			return err
		}
	}
	err = unix.PtraceAttach(pid)
	say("PTRACE_ATTACH", err)
	if err == nil {
		return leave(pid)
	}
	return nil
}

// leave lets a process go that is about to stop for this one.
func leave(pid int) error {
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return err
	}
	return unix.PtraceDetach(pid)
}

func say(what string, err error) {
	switch {
	case err == nil:
		fmt.Println(what+":", "worked")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		fmt.Println(what+":", "refused")
	default:
		fmt.Println(what+":", err)
	}
}

// tryOpen opens and reads: some files check who asks only then.
func tryOpen(path string) error {
	f, err := os.Open(path)
	if err != nil && strings.HasSuffix(path, "clear_refs") { // it can only be written
		f, err = os.OpenFile(path, os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_, err := f.ReadDir(-1)
		return err
	}
	_, err = f.Read(make([]byte, 64))
	if strings.HasSuffix(path, "/mem") || strings.HasSuffix(path, "clear_refs") {
		return nil // address 0 is nobody's
	}
	return err
}

// firstMapping is where programs such as these begin in memory.
func firstMapping() (uintptr, error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0, err
	}
	start, _, _ := strings.Cut(string(text), "-")
	n, err := strconv.ParseUint(start, 16, 64)
	return uintptr(n), err
}

// vm reads four bytes, or writes them to where nobody may write, which is found out
// only after who asks has been checked.
func vm(call uintptr, pid int, address uintptr) error {
	buf := make([]byte, 4)
	local := unix.Iovec{Base: &buf[0], Len: 4}
	remote := unix.RemoteIovec{Base: address, Len: 4}
	_, _, errno := unix.Syscall6(call, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	if call == unix.SYS_PROCESS_VM_WRITEV && errno == unix.EFAULT {
		errno = 0
	}
	return errnoOrNil(errno)
}

func takeDescriptor(pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, 0, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func errnoOrNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// victim is a daemon that closes itself in main, as most do, and tells its pid.
// After a line it makes the value that args hold the parts of.
func victim(args []string) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	value := []byte(strings.Join(args[2:], ""))
	fmt.Println(os.Getpid())
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	runtime.KeepAlive(value)
	return err
}

// spin watches for new processes and opens the memory of each that could become a
// daemon, again and again while it starts. Each line of standard input is the pid
// of what became one: spin looks through all of it that it could open for the value
// whose parts are args, tells how often it tried, how many descriptors it has and
// whether one leads to the value, and forgets everything.
func spin(args []string) error {
	value := []byte(strings.Join(args, ""))
	lines := make(chan string)
	go func() {
		defer close(lines)
		for input := bufio.NewScanner(os.Stdin); input.Scan(); {
			lines <- input.Text()
		}
	}()
	fmt.Println("ready")
	seen := lastPID()
	var hunted, caught []*prey
	for {
		select {
		case line, open := <-lines:
			if !open {
				return nil
			}
			tell(caught, line, value)
			hunted, caught = nil, nil
		default:
		}
		for last := lastPID(); seen < last; {
			seen++
			p := &prey{pid: seen, until: time.Now().Add(huntTime)}
			hunted, caught = append(hunted, p), append(caught, p)
		}
		for _, p := range hunted {
			p.snatch()
		}
		hunted = slices.DeleteFunc(hunted, func(p *prey) bool { return time.Now().After(p.until) })
	}
}

// lastPID is the youngest process id.
func lastPID() int {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text[bytes.LastIndexByte(text, ' ')+1:])))
	return n
}

// prey is a process that is watched while it starts.
type prey struct {
	pid   int
	until time.Time
	tries int
	open  []*os.File // memory and mappings, in pairs
}

// huntTime is how long a process is watched: longer than a daemon takes to start.
const huntTime = 200 * time.Millisecond

// most is how many of the first descriptors of a process are kept, and of the last.
const most = 8

// snatch opens what it can. Of many descriptors the first and the last are kept:
// those in between are of the same memory.
func (p *prey) snatch() {
	dir := "/proc/" + strconv.Itoa(p.pid)
	p.tries++
	mem, err := os.Open(dir + "/mem")
	if err != nil {
		return
	}
	maps, err := os.Open(dir + "/maps")
	if err != nil {
		mem.Close()
		return
	}
	p.open = append(p.open, mem, maps)
	if len(p.open) > 2*most {
		p.open[most].Close()
		p.open[most+1].Close()
		p.open = append(p.open[:most], p.open[most+2:]...)
	}
}

func tell(prey []*prey, pid string, value []byte) {
	tries, opened, found := 0, 0, 0
	for _, p := range prey {
		mine := strconv.Itoa(p.pid) == pid
		for i := 0; i < len(p.open); i += 2 {
			if mine {
				opened++
				if found == 0 && holds(p.open[i], p.open[i+1], value) {
					found++
				}
			}
			p.open[i].Close()
			p.open[i+1].Close()
		}
		if mine {
			tries += p.tries
		}
	}
	fmt.Printf("tries %d opened %d found %d\n", tries, opened, found)
}

// holds says whether value is in the writable part of a memory.
func holds(mem, maps *os.File, value []byte) bool {
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		span, rest, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(rest, "rw") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(span, "%x-%x", &from, &to); err != nil {
			continue
		}
		if inSpan(mem, from, to, value) {
			return true
		}
	}
	return false
}

func inSpan(mem *os.File, from, to int64, value []byte) bool {
	buf := make([]byte, 1<<20)
	for at := from; at < to; at += int64(len(buf) - len(value)) {
		n, err := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if bytes.Contains(buf[:n], value) {
			return true
		}
		if err != nil && n == 0 {
			return false
		}
	}
	return false
}
