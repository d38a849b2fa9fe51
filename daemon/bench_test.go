package daemon

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

// asked is a daemon of its own process with a worksite of 10 secrets, and a bare Go
// echo of as many bytes, a process too. Both have the same client.
type asked struct {
	*rig
	daemon, echo string // sockets
	request      []byte
	answer       int // bytes
	pidOf        map[string]int
	cpuUsed      map[string]time.Duration
}

func newAsked(b *testing.B) *asked {
	r := newRig(b, "none", nil)
	r.config("quiet = true\n") // the line on entering is shorter for 8h than for 7h59m
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
	a := &asked{rig: r, daemon: r.place.Socket, cpuUsed: map[string]time.Duration{}}
	var err error
	if a.request, err = wire.Encode([]byte(wire.Version), []byte(wire.VerbHook), []byte(r.root), nil); err != nil {
		b.Fatal(err)
	}
	if a.answer, err = answered(a.daemon, a.request); err != nil {
		b.Fatal(err)
	}
	var echo int
	a.echo, echo = r.startEcho(b, a.answer)
	<-time.After(4 * time.Second) // an approval of some age, as approvals are
	a.pidOf = map[string]int{a.daemon: r.pid(b), a.echo: echo}
	return a
}

// ask sends the request to one of the two.
func (a *asked) ask(b *testing.B, socket string) {
	n, err := answered(socket, a.request)
	if err != nil || n != a.answer {
		b.Errorf("%d bytes, %v", n, err)
	}
}

// BenchmarkHook is a warm request for 10 secrets, a connection each, beside the
// echo, turn by turn.
func BenchmarkHook(b *testing.B) {
	a := newAsked(b)
	times := map[string][]time.Duration{}
	for b.Loop() {
		for _, socket := range []string{a.daemon, a.echo} {
			began := time.Now()
			a.ask(b, socket)
			times[socket] = append(times[socket], time.Since(began))
		}
	}
	for name, socket := range map[string]string{"hook": a.daemon, "echo": a.echo} {
		percentiles(b, name, times[socket])
	}
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(percentile(times[a.daemon], p))/float64(percentile(times[a.echo], p)), fmt.Sprintf("p%d-ratio", p))
	}
}

// BenchmarkClients is 64 clients at once, each of whom asks again as soon as it
// was answered, in turns of the daemon and the echo.
func BenchmarkClients(b *testing.B) {
	const clients, each = 64, 20
	a := newAsked(b)
	took := map[string]time.Duration{}
	for b.Loop() {
		for _, socket := range []string{a.daemon, a.echo} {
			cpu, began := processor(b, a.pidOf[socket]), time.Now()
			var running sync.WaitGroup
			for range clients {
				running.Go(func() {
					for range each {
						a.ask(b, socket)
					}
				})
			}
			running.Wait()
			took[socket] += time.Since(began)
			a.cpuUsed[socket] += processor(b, a.pidOf[socket]) - cpu
		}
	}
	requests := float64(b.N * clients * each)
	for name, socket := range map[string]string{"daemon": a.daemon, "echo": a.echo} {
		b.ReportMetric(requests/took[socket].Seconds(), name+"/s")
		b.ReportMetric(float64(a.cpuUsed[socket].Microseconds())/requests, name+"-cpu-µs")
	}
	b.ReportMetric(float64(took[a.echo])/float64(took[a.daemon]), "rate-ratio")
}

// startEcho starts an echo beside the daemon's socket, whose answers have size
// bytes.
func (r *rig) startEcho(b *testing.B, size int) (path string, pid int) {
	path = r.dir + "/echo"
	cmd := r.command("echo", path, strconv.Itoa(size))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	await(b, "the echo", func() bool { return bare(path, []byte("x")) == nil })
	return path, cmd.Process.Pid
}

// echo answers what comes first over each connection with size bytes.
func echo(path, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
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
			buf := make([]byte, max(n, 1024))
			conn.Read(buf)
			conn.Write(buf[:n])
		}()
	}
}

// bare connects, writes once and reads to the end.
func bare(path string, request []byte) error {
	_, err := answered(path, request)
	return err
}

// answered is bare, and how many bytes there were.
func answered(path string, request []byte) (int, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, conn)
	return int(n), err
}

func took(b *testing.B, f func() error) time.Duration {
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func median(d []time.Duration) time.Duration { return percentile(d, 50) }

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[len(d)*p/100]
}

func percentiles(b *testing.B, name string, d []time.Duration) {
	b.ReportMetric(float64(percentile(d, 50))/1e3, name+"-p50-µs")
	b.ReportMetric(float64(percentile(d, 99))/1e3, name+"-p99-µs")
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
