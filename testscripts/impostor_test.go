package testscripts

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// impostor stands where the daemon stands and answers what the script wants, so
// that scripts can show what clients do with a daemon that is hung or lies.
type impostor struct {
	listener net.Listener
	answer   []string // fields of every answer to `hook`; nil: never answer
	done     chan struct{}

	mu       sync.Mutex
	requests int
}

// cmdImpostor puts one in the daemon's place, or asks it:
//
//	impostor hang               takes requests and never answers
//	impostor answer FIELD...    answers each request with these fields
//	impostor requests N         fails unless N `hook` requests have come
//	impostor stop               goes away, and its socket with it
func cmdImpostor(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) == 0 {
		ts.Fatalf("usage: impostor hang | answer FIELD... | requests N | stop")
	}
	switch args[0] {
	case "hang", "answer":
		i, err := w.impersonate(args[0] == "answer", args[1:])
		ts.Check(err)
		w.impostor = i
		ts.Defer(i.stop)
	case "requests":
		i := w.impostor
		i.mu.Lock()
		defer i.mu.Unlock()
		if len(args) != 2 || strconv.Itoa(i.requests) != args[1] {
			ts.Fatalf("%d requests came, not %s", i.requests, strings.Join(args[1:], " "))
		}
	case "stop":
		w.impostor.stop()
	default:
		ts.Fatalf("impostor: unknown argument %s", args[0])
	}
}

func (w *world) impersonate(answers bool, fields []string) (*impostor, error) {
	dir := filepath.Join(w.runtime, "keyrack")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, socketName())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, err
	}
	i := &impostor{listener: listener, done: make(chan struct{})}
	if answers {
		i.answer = append([]string{}, fields...)
	}
	go i.serve()
	return i, nil
}

// socketName is keyrack.sock, or session-S.sock in an audit session.
func socketName() string {
	text, err := os.ReadFile("/proc/self/sessionid")
	session := strings.TrimSpace(string(text))
	if err != nil || session == "" || session == "4294967295" {
		return "keyrack.sock"
	}
	return "session-" + session + ".sock"
}

func (i *impostor) serve() {
	for {
		conn, err := i.listener.Accept()
		if err != nil {
			return
		}
		go i.serveOne(conn)
	}
}

func (i *impostor) serveOne(conn net.Conn) {
	defer conn.Close()
	request, err := readFrame(conn)
	if err != nil {
		return
	}
	if len(request) > 1 && request[1] == "hook" {
		i.mu.Lock()
		i.requests++
		i.mu.Unlock()
	}
	if i.answer == nil {
		<-i.done
		return
	}
	payload := strings.Join(i.answer, "\x00") + "\x00"
	_, _ = fmt.Fprintf(conn, "%d\n%s", len(payload), payload)
}

func readFrame(conn net.Conn) ([]string, error) {
	r := bufio.NewReader(conn)
	header, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(strings.TrimSpace(header))
	if err != nil || length > 1<<20 {
		return nil, fmt.Errorf("bad header")
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(payload), "\x00"), "\x00"), nil
}

func (i *impostor) stop() {
	select {
	case <-i.done:
	default:
		close(i.done)
		_ = i.listener.Close() // unlinks the socket
	}
}

// cmdSignal sends one: signal NAME PID. STOP waits until the process has stopped:
// its threads go on until the one that takes the signal has had its turn.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	names := map[string]syscall.Signal{"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	if len(args) != 2 || names[args[0]] == 0 {
		ts.Fatalf("usage: signal NAME PID")
	}
	pid, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(syscall.Kill(pid, names[args[0]]))
	stopped := func() bool {
		state, _ := exec.Command("ps", "-o", "stat=", "-p", args[1]).Output()
		return strings.HasPrefix(string(state), "T")
	}
	if args[0] == "STOP" && !eventually(patience, stopped) {
		ts.Fatalf("process %s does not stop", args[1])
	}
}
