package testscripts

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkUnlock measures what twenty wrong passphrases, tried at once by real
// `keyrack unlock` processes, cost the daemon's other clients: the 99th percentile
// of a warm grant of 10 secrets meanwhile, as a ratio to the same before and after
// them. An iteration is one round of all three, and takes half a minute:
//
//	go test ./testscripts -run '^$' -bench Unlock -benchtime 3x
func BenchmarkUnlock(b *testing.B) {
	bench := newUnlockBench(b)
	var idle, busy []time.Duration
	for b.Loop() {
		idle = append(idle, bench.forA(3*time.Second)...)
		busy = append(busy, bench.whileWrong(b, 20)...)
		idle = append(idle, bench.forA(3*time.Second)...)
	}
	b.ReportMetric(0, "ns/op")
	for name, d := range map[string][]time.Duration{"idle": idle, "busy": busy} {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Nanoseconds())/1e3, name+"-p50-µs")
		b.ReportMetric(float64(d[len(d)*99/100].Nanoseconds())/1e3, name+"-p99-µs")
		b.ReportMetric(float64(len(d)), name+"-requests")
	}
	b.ReportMetric(float64(busy[len(busy)*99/100])/float64(idle[len(idle)*99/100]), "busy/idle-p99")
}

type unlockBench struct {
	hookBench
	socket  string
	request []byte
	failed  error
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

// until asks once a millisecond until done is closed: as one busy client does,
// not as fast as it can.
func (bench *unlockBench) until(done <-chan struct{}) (took []time.Duration) {
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-done:
			return took
		case <-every.C:
			start := time.Now()
			if err := bench.ask(); err != nil {
				bench.failed = err
				return took
			}
			took = append(took, time.Since(start))
		}
	}
}

func (bench *unlockBench) forA(moment time.Duration) []time.Duration {
	done := make(chan struct{})
	time.AfterFunc(moment, func() { close(done) })
	return bench.until(done)
}

// whileWrong asks for as long as n processes try wrong passphrases.
func (bench *unlockBench) whileWrong(b *testing.B, n int) []time.Duration {
	b.Helper()
	var tries sync.WaitGroup
	done := make(chan struct{})
	for i := range n {
		c := exec.Command(filepath.Join(binDir, "keyrack"), "unlock")
		c.Dir, c.Env, c.Stdin = bench.dir+"/w", bench.env, strings.NewReader(fmt.Sprintf("wrong %d\n", i))
		tries.Go(func() {
			if err := c.Run(); err == nil {
				b.Error("a wrong passphrase unlocks")
			}
		})
	}
	go func() { tries.Wait(); close(done) }()
	took := bench.until(done)
	tries.Wait()
	if bench.failed != nil {
		b.Fatal(bench.failed)
	}
	return took
}
