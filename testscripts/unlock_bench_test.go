package testscripts

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkUnlock measures what twenty wrong passphrases, tried at once by real
// `keyrack unlock` processes, cost the daemon's other clients: the 99th percentile
// of a warm grant of 10 secrets meanwhile, as a ratio to the same without them. The
// one that tries while the others wait for their turn is stopped and continued, so
// that whatever else the machine does is in both figures. An iteration is twenty
// tries, which take half a minute on a quiet machine:
//
//	go test ./testscripts -run '^$' -bench Unlock -benchtime 3x
func BenchmarkUnlock(b *testing.B) {
	bench := newUnlockBench(b)
	for b.Loop() {
		bench.try(b, 20)
	}
	b.ReportMetric(0, "ns/op")
	for name, d := range map[string][]time.Duration{"idle": bench.idle, "busy": bench.busy} {
		b.ReportMetric(percentile(d, 50), name+"-p50-µs")
		b.ReportMetric(percentile(d, 99), name+"-p99-µs")
		b.ReportMetric(float64(len(d)), name+"-requests")
	}
	b.ReportMetric(percentile(bench.busy, 50)/percentile(bench.idle, 50), "busy/idle-p50")
	b.ReportMetric(percentile(bench.busy, 99)/percentile(bench.idle, 99), "busy/idle-p99")
}

// percentile is in microseconds.
func percentile(d []time.Duration, n int) float64 {
	slices.Sort(d)
	return float64(d[len(d)*n/100].Nanoseconds()) / 1e3
}

type unlockBench struct {
	hookBench
	socket  string
	request []byte
	idle    []time.Duration // what requests took without the wrong passphrases
	busy    []time.Duration // and with them
}

const rightPassphrase = "correct horse battery"

func newUnlockBench(b *testing.B) *unlockBench {
	b.Helper()
	dir := b.TempDir()
	run, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		b.Fatal(err)
	}
	bench := &unlockBench{hookBench: hookBench{dir: dir}}
	bench.env = []string{"HOME=" + dir, "PATH=" + binDir + ":" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + run}
	site := "name = \"bench/w\"\n[secrets]\n"
	for i := range 10 {
		site += fmt.Sprintf("SECRET_%d = \"\"\n", i)
	}
	root := dir + "/w"
	if err := os.Mkdir(root, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(root+"/.keyrack.toml", []byte(site), 0o600); err != nil {
		b.Fatal(err)
	}
	bench.run(b, root, rightPassphrase+"\n", "keyrack", "rack", "create", "--lock", "passphrase")
	b.Cleanup(func() {
		bench.run(b, root, "", "keyrack", "daemon", "stop")
		os.RemoveAll(run)
	})
	bench.run(b, root, rightPassphrase+"\n", "keyrack", "unlock")
	for i := range 10 {
		bench.run(b, root, strings.Repeat("v", 40), "keyrack", "set", fmt.Sprintf("SECRET_%d", i))
	}
	bench.run(b, root, "", "keyrack", "allow")
	bench.run(b, root, "", "keyrack", "exec", "--", "true")
	sockets, err := filepath.Glob(run + "/keyrack/*sock*")
	if err != nil || len(sockets) != 1 {
		b.Fatalf("the socket: %v, %v", sockets, err)
	}
	bench.socket = sockets[0]
	payload := "1\x00grant\x00" + root + "\x00"
	bench.request = []byte(fmt.Sprintf("%d\n%s", len(payload), payload))
	if err := bench.ask(); err != nil {
		b.Fatal(err)
	}
	return bench
}

// ask is one request of another client.
func (bench *unlockBench) ask() error {
	conn, err := net.Dial("unix", bench.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(bench.request); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && strings.Count(string(answer), "\x00SECRET_") != 10 {
		err = fmt.Errorf("an answer of %d bytes without the 10 secrets", len(answer))
	}
	return err
}

// turn is how long a passphrase is tried, and then not.
const turn = 300 * time.Millisecond

// ticking asks once a millisecond for one turn: as a busy client does, not as fast
// as it can.
func (bench *unlockBench) ticking(b *testing.B) (took []time.Duration) {
	b.Helper()
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(turn); time.Now().Before(end); <-every.C {
		start := time.Now()
		if err := bench.ask(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	return took
}

// try has n processes try a wrong passphrase each, and measures until all have.
func (bench *unlockBench) try(b *testing.B, n int) {
	b.Helper()
	ended := make(chan error, n)
	for i := range n {
		c := exec.Command(filepath.Join(binDir, "keyrack"), "unlock")
		c.Dir, c.Env, c.Stdin = bench.dir+"/w", bench.env, strings.NewReader(fmt.Sprintf("wrong %d\n", i))
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		go func() { ended <- c.Wait() }()
	}
	for left := n; left > 0; {
		bench.busy = append(bench.busy, bench.ticking(b)...)
		if pid := bench.trying(b); pid > 0 && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			bench.idle = append(bench.idle, bench.ticking(b)...)
			syscall.Kill(pid, syscall.SIGCONT)
		}
		for more := true; more; {
			select {
			case err := <-ended:
				if err == nil {
					b.Error("a wrong passphrase unlocks")
				}
				left--
			default:
				more = false
			}
		}
	}
}

// trying is the process whose turn it is: the one that has the lock of the queue; 0
// where none has it just now.
func (bench *unlockBench) trying(b *testing.B) int {
	b.Helper()
	info, err := os.Stat(filepath.Join(filepath.Dir(bench.socket), "unlocking"))
	if err != nil {
		b.Fatal(err)
	}
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(locks)) {
		fields := strings.Fields(line) // 1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE FROM TO
		if strings.Contains(line, inode) && len(fields) > 4 && fields[1] == "FLOCK" {
			pid, _ := strconv.Atoi(fields[4])
			return pid
		}
	}
	return 0
}
