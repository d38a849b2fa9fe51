package wire

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the other process of a test: what the real
// client would spawn as `exe daemon run`, or a listener of another user.
func TestMain(m *testing.M) {
	switch args := strings.Join(os.Args[1:], " "); {
	case args == "daemon run", args == "daemon run --shared":
		standIn()
	case strings.HasPrefix(args, "listen "):
		listenForever(os.Args[2])
	default:
		os.Exit(m.Run())
	}
}

func listenForever(path string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer l.Close()
	fmt.Println("up")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	<-stop
}

// standIn starts as a daemon would, in the way that a file in its runtime
// directory says, and leaves what it sees there.
func standIn() {
	p, err := FindPlace()
	if err != nil {
		os.Exit(1)
	}
	how, _ := os.ReadFile(p.Dir + "/how")
	ready := os.NewFile(3, "ready")
	switch string(how) {
	case "die":
		os.Exit(1)
	case "refuse":
		ready.WriteString("the disk is full\n")
		os.Exit(1)
	case "hang":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, unix.SIGTERM)
		<-stop
	case "other":
		ready.WriteString(ReadyOther)
		os.Exit(0)
	case "report":
		report(p)
		ready.WriteString("reported")
	}
}

// report writes what the daemon's process has been given.
func report(p Place) {
	cwd, _ := os.Getwd()
	sid, _ := unix.Getsid(0)
	var fds []string
	entries, _ := os.ReadDir(fdDir)
	for _, e := range entries {
		if target, err := os.Readlink(fdDir + "/" + e.Name()); err == nil {
			fds = append(fds, e.Name()+"="+target)
		}
	}
	text := fmt.Sprintf("args %s\ncwd %s\nsession leader %t\nfds %s\nenv %s\n", strings.Join(os.Args[1:], " "), cwd, sid == os.Getpid(), strings.Join(fds, " "), strings.Join(os.Environ(), " "))
	os.WriteFile(p.Dir+"/report", []byte(text), 0o600)
}
