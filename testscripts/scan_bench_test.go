package testscripts

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkScan measures `keyrack scan` of a tree against `grep -F -r` with the same
// patterns, in turns. KEYRACK_SCAN_MB is the tree's size, 1024 MB unless it is set:
//
//	go test ./testscripts -run '^$' -bench Scan -benchtime 3x
func BenchmarkScan(b *testing.B) {
	for _, secrets := range []int{1, 10} {
		b.Run(fmt.Sprint(secrets), func(b *testing.B) { benchmarkScan(b, secrets) })
	}
}

func benchmarkScan(b *testing.B, secrets int) {
	megabytes := 1024
	if own := os.Getenv("KEYRACK_SCAN_MB"); own != "" {
		if _, err := fmt.Sscan(own, &megabytes); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	runtime, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(runtime) })
	program := filepath.Join(binDir, "keyrack")
	keyrack := func(stdin string, args ...string) {
		b.Helper()
		c := exec.Command(program, args...)
		c.Dir, c.Stdin = dir+"/w", strings.NewReader(stdin)
		c.Env = []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + runtime, "PATH=" + os.Getenv("PATH")}
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("keyrack %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	tree := dir + "/w/tree"
	text := textTree(b, tree, megabytes)
	file, patterns := "[secrets]\n", ""
	for i := range secrets {
		file += fmt.Sprintf("S%d = \"\"\n", i)
	}
	if err := os.WriteFile(dir+"/w/.keyrack.toml", []byte(file), 0o600); err != nil {
		b.Fatal(err)
	}
	keyrack("", "rack", "create", "--lock", "none")
	b.Cleanup(func() { keyrack("", "daemon", "stop") })
	keyrack("", "allow")
	for i := range secrets {
		value := strings.ReplaceAll(text(40), "\n", "/")
		keyrack(value, "set", fmt.Sprintf("S%d", i))
		patterns += strings.Join(patternsOf(value), "\n") + "\n"
	}
	if err := os.WriteFile(dir+"/patterns", []byte(patterns), 0o600); err != nil {
		b.Fatal(err)
	}
	grep := exec.Command("grep", "-F", "-r", "-q", "-f", dir+"/patterns", tree)
	if err := grep.Run(); err == nil || grep.ProcessState.ExitCode() != 1 { // which reads the tree into memory
		b.Fatalf("grep: %v: the tree should hold none of the patterns", err)
	}
	var scans, greps []time.Duration
	for b.Loop() {
		start := time.Now()
		keyrack("", "scan", tree)
		scans = append(scans, time.Since(start))
		start = time.Now()
		c := exec.Command("grep", "-F", "-r", "-f", dir+"/patterns", tree)
		c.Env = []string{"LC_ALL=C"}
		_ = c.Run()
		greps = append(greps, time.Since(start))
	}
	slices.Sort(scans)
	slices.Sort(greps)
	scan, other := scans[len(scans)/2], greps[len(greps)/2]
	b.ReportMetric(scan.Seconds(), "s/scan")
	b.ReportMetric(other.Seconds(), "s/grep")
	b.ReportMetric(scan.Seconds()/other.Seconds(), "scan/grep")
	b.ReportMetric(0, "ns/op")
}

// textTree makes a tree of files of random text, of 1 MB each, and returns what makes
// more such text.
func textTree(b *testing.B, tree string, megabytes int) (text func(n int) string) {
	const letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=_-.\n     eeettaaoin"
	r := rand.New(rand.NewPCG(1, 2))
	text = func(n int) string {
		out := make([]byte, n)
		for i := range out {
			out[i] = letters[r.IntN(len(letters))]
		}
		return string(out)
	}
	for i := range megabytes {
		sub := filepath.Join(tree, fmt.Sprint(i/32))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), []byte(text(1<<20)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return text
}

// patternsOf are the forms in which keyrack scan looks for a value, but for those that
// depend on single characters.
func patternsOf(value string) []string {
	all := []string{value, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))}
	for skip, cut := range []int{0, 2, 3} {
		long := []byte(strings.Repeat("x", skip) + value)
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if text := encoding.EncodeToString(long)[cut : 8*len(long)/6]; !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}
