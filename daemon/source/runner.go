package source

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/harden"
)

// Runner has a process of its own start other people's tools: `keyrack __runner`.
// The daemon's children can neither use the network nor gain privileges; those of
// a process that was started before the daemon closed itself in can. It ends when
// whoever started it does, with all that it started. It never sees what a tool
// says: tools write into pipes that end in the daemon.
//
// The zero Runner starts nothing. Methods may be called at the same time.
type Runner struct{ conn *net.UnixConn }

// StartRunner starts the process from program, with the environment given, of which
// every tool gets its part.
func StartRunner(program string, environ []string) (*Runner, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("starting the process that runs tools: %w", err)
	}
	defer theirs.Close()
	defer ours.Close() // FileConn has a descriptor of its own
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("starting the process that runs tools: %w", err)
	}
	cmd := exec.Command(program, "__runner")
	cmd.Args[0] = os.Args[0]
	cmd.Dir, cmd.Env, cmd.Stdin = "/", append(environ, "GOTRACEBACK=none", "GOMAXPROCS=1"), theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("starting the process that runs tools: %w", err)
	}
	go cmd.Wait()
	return &Runner{conn.(*net.UnixConn)}, nil
}

// Close ends the process, and with it every tool that runs.
func (r *Runner) Close() {
	if r != nil {
		r.conn.Close()
	}
}

func socketPair() (a, b *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range pair {
		unix.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(pair[0]), "runner"), os.NewFile(uintptr(pair[1]), "runner"), nil
}

// job is one tool to run. Where approved is not nil, it is a command of a
// worksite's, and runs only where the files that it names are those.
type job struct {
	argv, env []string
	dir       string
	limit     time.Duration
	approved  map[string]string
}

// request is the job on its way. Only lengths bound its parts: a directory's name
// may hold any byte but NUL.
func (j job) request() request {
	q := request{verb: verbRun, dir: j.dir, limit: j.limit, value: []byte(strings.Join(j.env, "\x00")), names: j.argv}
	if j.approved != nil {
		q.key, _ = json.Marshal(j.approved) // texts always can be
	}
	return q
}

func (q request) job() (job, error) {
	if q.verb != verbRun || len(q.names) == 0 {
		return job{}, errRequest
	}
	j := job{argv: q.names, env: strings.Split(string(q.value), "\x00"), dir: q.dir, limit: q.limit}
	if len(q.key) > 0 && json.Unmarshal(q.key, &j.approved) != nil {
		return job{}, errRequest
	}
	return j, nil
}

// outcome is what became of a tool: Missing is set where there is none of the name,
// Problem where it could not be started, Changed where a file is not the one that was
// approved.
type outcome struct {
	Code    int
	Missing bool
	Problem string
	Changed string
}

var errNoRunner = errors.New("the process that runs tools is gone: keyrack daemon stop")

// start has a tool started, its output going to out and errs, which it closes. The
// process group of the tool is killed when stop is closed, and done tells how it
// ended, at the latest then.
func (r *Runner) start(j job, out, errs *os.File) (stop, done *os.File, err error) {
	defer out.Close()
	defer errs.Close()
	if r == nil || r.conn == nil {
		return nil, nil, errNoRunner
	}
	theirs, stop, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	done, reply, err := os.Pipe()
	if err != nil {
		stop.Close()
		return nil, nil, err
	}
	defer reply.Close()
	var fds []int
	for _, file := range []*os.File{theirs, reply, out, errs} {
		fd := int(file.Fd())
		if err = unix.SetNonblock(fd, false); err != nil { // a tool expects a pipe that waits
			break
		}
		fds = append(fds, fd)
	}
	if err == nil {
		if _, _, err = r.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil); err != nil {
			err = errNoRunner
		}
	}
	if err == nil {
		err = j.request().write(stop)
	}
	if err != nil {
		stop.Close()
		done.Close()
		return nil, nil, err
	}
	return stop, done, nil
}

// RunnerChild is the process: its standard input is the socket over which it is
// asked. The result is the exit code.
func RunnerChild() int {
	closeInherited()
	if _, err := harden.Close(); err != nil {
		return childFailed
	}
	if err := harden.Mute(); err != nil {
		return childFailed
	}
	file := os.NewFile(0, "socket")
	conn, err := net.FileConn(file)
	if err != nil {
		return childFailed
	}
	if file.Close() != nil || replaceStdin() != nil {
		return childFailed
	}
	var jobs sync.WaitGroup
	defer jobs.Wait() // each is killed when its pipe ends, as all of them do then
	for {
		files, err := receive(conn.(*net.UnixConn))
		if err != nil {
			return 0
		}
		jobs.Go(func() { runJob(files) })
	}
}

// replaceStdin puts an empty file where the socket was.
func replaceStdin() error {
	null, err := os.Open(os.DevNull) // descriptor 0 is free: this is it, unless it was taken meanwhile
	if err == nil && null.Fd() != 0 {
		null.Close()
	}
	return err
}

// receive waits for the descriptors of one job.
func receive(conn *net.UnixConn) (files [4]*os.File, err error) {
	var octet [1]byte
	oob := make([]byte, unix.CmsgSpace(4*len(files)))
	n, oobn, _, _, err := conn.ReadMsgUnix(octet[:], oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return files, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return files, errRequest
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != len(files) {
		return files, errRequest
	}
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "job")
	}
	return files, nil
}

// runJob runs one tool to its end. files are the pipes of Runner.start.
func runJob(files [4]*os.File) {
	request, reply, out, errs := files[0], files[1], files[2], files[3]
	defer request.Close()
	defer reply.Close()
	input := bufio.NewReader(request)
	var j job
	q, err := readRequest(input)
	if err == nil {
		j, err = q.job()
	}
	if err != nil {
		out.Close()
		errs.Close()
		return
	}
	o := j.run(input, out, errs)
	json.NewEncoder(reply).Encode(o) // who does not want to know any more has closed it
}

// run starts the tool in a session of its own, without a terminal, and waits for
// it. It closes out and errs as soon as the tool has them.
func (j job) run(request io.Reader, out, errs *os.File) outcome {
	cmd, o := j.command()
	if cmd == nil {
		out.Close()
		errs.Close()
		return o
	}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = j.dir, j.env, out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := startApart(cmd)
	out.Close()
	errs.Close()
	for _, program := range cmd.ExtraFiles {
		program.Close()
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, exec.ErrDot):
		return outcome{Missing: true}
	case err != nil:
		return outcome{Problem: innermost(err).Error()}
	}
	ctx, over := context.WithTimeout(context.Background(), j.limit)
	defer over()
	go func() {
		io.Copy(io.Discard, request)
		over()
	}()
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stopKilling := context.AfterFunc(ctx, kill)
	err = cmd.Wait()
	stopKilling()
	// What the tool left behind holds its output open. The group's number can't be
	// another's so soon: the kernel gives a number again only after all the others.
	kill()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return outcome{Code: exit.ExitCode()}
	}
	if err != nil {
		return outcome{Problem: innermost(err).Error()}
	}
	return outcome{}
}

// startApart starts cmd without the session keyring of this process, in which the
// keys are that the daemon's values are sealed under. Keyrings are a thread's: the
// thread ends with this.
func startApart(cmd *exec.Cmd) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		harden.LeaveKeyring()
		done <- cmd.Start()
	}()
	return <-done
}

// innermost is the error of the system call, without the names around it.
func innermost(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}
