package daemon

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// inSession runs a program in a login session of its own, as a login does. An
// audit session can be begun once, or by who may control the audit.
//
// The number is a thread's: the one that gets it has to be the one that becomes
// the program.
func inSession(args []string) error {
	runtime.LockOSThread()
	if err := os.WriteFile("/proc/thread-self/loginuid", []byte(strconv.Itoa(os.Getuid())), 0); err != nil {
		return fmt.Errorf("no session: %w", err)
	}
	number, err := os.ReadFile("/proc/thread-self/sessionid")
	if err != nil || string(number) == strconv.FormatUint(math.MaxUint32, 10) {
		return fmt.Errorf("no session: the kernel numbers none (%q, %v)", number, err)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

// connectAndLeave connects to the socket args[0], hands the connection to a child
// and ends. The child asks, as the heir.
func connectAndLeave(args []string) error {
	file, err := connected(args[0])
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	cmd := exec.Command(exe, "heir")
	cmd.Stdin = os.Stdin
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{file, os.NewFile(uintptr(pidfd), "self")}
	return cmd.Start()
}

// heir waits until its parent has gone, and standard input has ended, and asks on
// the connection that it got.
func heir([]string) error {
	parent := []unix.PollFd{{Fd: 4, Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(parent, -1); n == 1 && err == nil {
			break
		}
	}
	io.Copy(io.Discard, os.Stdin) // until whoever started all this wants to know
	return askOn(os.NewFile(3, "connection"))
}

// askAndTurn asks the socket args[0] for the grant of args[1] and, when standard
// input ends, becomes another program, which waits for the answer. With a third
// argument the daemon has met it before.
func askAndTurn(args []string) error {
	if len(args) == 3 {
		if err := askRaw(args[0]); err != nil {
			return err
		}
	}
	file, err := connected(args[0])
	if err != nil {
		return err
	}
	frame, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbGrant), []byte(args[1]))
	if err != nil {
		return err
	}
	if _, err := file.Write(frame); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	return turn(file, `echo turned; cat <&%[1]d | tr '\0' ' '`)
}

// connectAndTurn connects to the socket args[0], waits until the daemon has looked
// at it and becomes another program, which asks.
func connectAndTurn(args []string) error {
	file, err := connected(args[0])
	if err != nil {
		return err
	}
	frame, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbPing))
	if err != nil {
		return err
	}
	if _, err := file.Write(frame[:3]); err != nil {
		return err
	}
	for range time.Tick(time.Millisecond) {
		unread, err := unix.IoctlGetInt(int(file.Fd()), unix.SIOCOUTQ)
		if err != nil {
			return err
		}
		if unread == 0 {
			break
		}
	}
	return turn(file, `printf '`+octal(frame[3:])+`' >&%[1]d; cat <&%[1]d | tr '\0' ' '`)
}

// turn becomes a shell that has file.
func turn(file *os.File, script string) error {
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETFD, 0); err != nil {
		return err
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		return err
	}
	return syscall.Exec(sh, []string{"sh", "-c", fmt.Sprintf(script, file.Fd())}, os.Environ())
}

func octal(text []byte) string {
	var out []byte
	for _, c := range text {
		out = fmt.Appendf(out, `\%03o`, c)
	}
	return string(out)
}

func connected(socket string) (*os.File, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*net.UnixConn).File()
}

func askOn(file *os.File) error {
	frame, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbPing))
	if err != nil {
		return err
	}
	file.Write(frame)
	answer, err := wire.ReadFrame(file, wire.MaxAnswer)
	fmt.Printf("%q %v\n", answer, err)
	return nil
}
