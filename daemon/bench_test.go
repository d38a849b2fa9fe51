package daemon

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

// BenchmarkHook is a warm request for 10 secrets, a connection each, beside a bare
// Go echo of as many bytes over a unix socket, turn by turn. Daemon and echo are
// processes of their own and have the same client; call is the wire's own client.
func BenchmarkHook(b *testing.B) {
	r := newRig(b, "none", nil)
	r.cache.Close()
	r.agent = r.connect(b)
	var text strings.Builder
	text.WriteString("[secrets]\n")
	for i := range 10 {
		fmt.Fprintf(&text, "SECRET_%d = \"\"\n", i)
		r.set(fmt.Sprintf("SECRET_%d", i), strings.Repeat("v", 40))
	}
	r.worksite(text.String())
	if g := r.grant(); g.Status != wire.OK || len(g.Vars) != 10 {
		b.Fatalf("status %s, %d variables", g.Status, len(g.Vars))
	}
	request, err := wire.Encode([]byte(wire.Version), []byte(wire.VerbGrant), []byte(r.root))
	if err != nil {
		b.Fatal(err)
	}
	echo := r.startEcho(b)
	var asked, echoed, called []time.Duration
	for b.Loop() {
		asked = append(asked, took(b, func() error { return bare(r.place.Socket, request) }))
		echoed = append(echoed, took(b, func() error { return bare(echo, make([]byte, 600)) }))
		called = append(called, took(b, func() error {
			_, err := wire.Call(r.place, 5*time.Second, nil, []byte(wire.VerbGrant), []byte(r.root))
			return err
		}))
	}
	percentiles(b, "hook", asked)
	percentiles(b, "echo", echoed)
	percentiles(b, "call", called)
	b.ReportMetric(float64(median(asked))/float64(median(echoed)), "hook/echo")
}

// startEcho starts an echo beside the daemon's socket.
func (r *rig) startEcho(b *testing.B) string {
	path := r.dir + "/echo"
	cmd := r.command("echo", path)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	await(b, "the echo", func() bool { return bare(path, []byte("x")) == nil })
	return path
}

// echo answers each connection with what it first says.
func echo(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 1024)
			n, _ := conn.Read(buf)
			conn.Write(buf[:n])
		}()
	}
}

// bare connects, writes once and reads to the end.
func bare(path string, request []byte) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

func took(b *testing.B, f func() error) time.Duration {
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func percentiles(b *testing.B, name string, d []time.Duration) {
	b.ReportMetric(float64(median(d))/1e3, name+"-p50-µs")
	b.ReportMetric(float64(d[len(d)*99/100])/1e3, name+"-p99-µs")
}

// BenchmarkIdle is a real daemon that holds a value and is left alone for some
// seconds: the memory that it keeps in RAM, and how often it wakes up.
func BenchmarkIdle(b *testing.B) {
	const quiet = 5 * time.Second
	r := newRig(b, "none", nil)
	r.cache.Close()
	r.agent = r.connect(b)
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.want(r.grant(), wire.OK, "A=1")
	pid := r.pid(b)
	<-time.After(quiet) // what the requests left behind
	for b.Loop() {
		before := switches(b, pid)
		<-time.After(quiet)
		b.ReportMetric(float64(switches(b, pid)-before), "wake-ups")
		b.ReportMetric(float64(resident(b, pid))/(1<<20), "MB-resident")
	}
}

// switches counts how often the threads of pid went to sleep.
func switches(b *testing.B, pid int) (n int) {
	b.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if err != nil {
			continue // it ended
		}
		count, _ := strconv.Atoi(field(string(text), "voluntary_ctxt_switches:"))
		n += count
	}
	return n
}
