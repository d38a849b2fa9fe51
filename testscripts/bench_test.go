package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkHook measures, in a real interactive shell of each variant, what
// docs/benchmarks.md lists. All that is compared runs in one shell, in turns; an
// iteration is one turn, and the figures are medians over the turns:
//
//	go test ./testscripts -run '^$' -bench Hook -benchtime 15x
//
// A variant that precedes command lines by the DEBUG trap is left out: a loop
// can't set it off as a line editor does.
func BenchmarkHook(b *testing.B) {
	patience = 5 * time.Minute // a turn on a busy machine
	for _, v := range variants {
		if v.hook == "--before debug" {
			continue
		}
		b.Run(v.name, func(b *testing.B) {
			if err := v.check(); err != nil {
				b.Fatal(err)
			}
			bench := newHookBench(b, v)
			for b.Loop() {
				if shown, err := bench.term.line("__keyrack_bench_round", v.family); err != nil {
					b.Fatalf("%v: %s", err, shown)
				}
			}
			bench.report(b)
		})
	}
}

// hookBench is a shell with the hook, and the directories that it moves between:
// BENCH_O outside, BENCH_W a worksite with 10 secrets, BENCH_E an .envrc with 10 variables.
type hookBench struct {
	term *terminal
	out  string
	dir  string
	env  []string
}

func newHookBench(b *testing.B, v variant) *hookBench {
	b.Helper()
	dir := b.TempDir()
	runtime, err := os.MkdirTemp(memory, "kr")
	if err != nil {
		b.Fatal(err)
	}
	bench := &hookBench{out: filepath.Join(dir, "out"), dir: dir}
	code, err := filepath.Abs("testdata/bench/bench." + v.family)
	if err != nil {
		b.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	for _, sub := range []string{"home/.config/fish", "home/.config/keyrack", "home/.local/share/fish/generated_completions", "home/.cache/fish/generated_completions", "o", "w", "e"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	bench.env = []string{"HOME=" + home, "PATH=" + binDir + ":" + os.Getenv("PATH"), "TERM=xterm-256color", "LC_ALL=C.UTF-8", "USER=tester",
		"XDG_RUNTIME_DIR=" + runtime, "XDG_CONFIG_HOME=" + home + "/.config", "XDG_DATA_HOME=" + home + "/.local/share", "XDG_CACHE_HOME=" + home + "/.cache",
		"BENCH_OUT=" + bench.out, "BENCH_O=" + dir + "/o", "BENCH_W=" + dir + "/w", "BENCH_E=" + dir + "/e", "BENCH_BARE=" + bareProgram(b), "SHELL=" + v.path()}
	bench.furnish(b)
	if err := (&world{variant: v, work: dir}).writeRC("", ". "+code+"\n", true); err != nil {
		b.Fatal(err)
	}
	shell := exec.Command(v.path(), "-i")
	shell.Dir, shell.Env = dir+"/o", append(slices.Clone(bench.env), "PWD="+dir+"/o")
	if bench.term, err = start(shell); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		bench.term.hangUp()
		bench.run(b, dir, "", "keyrack", "daemon", "stop")
		os.RemoveAll(runtime)
	})
	if shown, err := bench.term.nextPrompt(0, false); err != nil {
		b.Fatalf("%v: %s", err, shown)
	}
	return bench
}

// furnish makes the worksite, and the directory that does the same for direnv.
func (bench *hookBench) furnish(b *testing.B) {
	b.Helper()
	var site, envrc strings.Builder
	site.WriteString("name = \"bench/w\"\n[secrets]\n")
	for i := range 10 {
		fmt.Fprintf(&site, "SECRET_%d = \"\"\n", i)
		fmt.Fprintf(&envrc, "export SECRET_%d=0123456789abcdef0123456789abcdef0123456%d\n", i, i)
	}
	for file, text := range map[string]string{
		"w/.keyrack.toml": site.String(), "e/.envrc": envrc.String(), "home/.config/keyrack/config.toml": "quiet = true\n",
	} {
		if err := os.WriteFile(filepath.Join(bench.dir, file), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	w := bench.dir + "/w"
	bench.run(b, w, "", "keyrack", "rack", "create", "--lock", "none")
	for i := range 10 {
		bench.run(b, w, fmt.Sprintf("0123456789abcdef0123456789abcdef0123456%d", i), "keyrack", "set", fmt.Sprintf("SECRET_%d", i))
	}
	bench.run(b, w, "", "keyrack", "allow")
	bench.run(b, bench.dir+"/e", "", "direnv", "allow")
}

func (bench *hookBench) run(b *testing.B, dir, stdin string, argv ...string) {
	b.Helper()
	c := exec.Command("env", argv...)
	c.Dir, c.Env, c.Stdin = dir, bench.env, strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

// bareProgram is a Go program that does nothing: the least that any client in Go costs.
func bareProgram(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	if err := os.WriteFile(dir+"/main.go", []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", dir+"/bare", dir+"/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building: %v: %s", err, out)
	}
	return dir + "/bare"
}

// report gives the medians: microseconds of what forks nothing, else ratios.
func (bench *hookBench) report(b *testing.B) {
	b.Helper()
	text, err := os.ReadFile(bench.out)
	if err != nil {
		b.Fatal(err)
	}
	samples := map[string][]float64{}
	for line := range strings.Lines(string(text)) {
		var name string
		var ns float64
		if _, err := fmt.Sscan(line, &name, &ns); err != nil {
			b.Fatalf("not a sample: %q", line)
		}
		samples[name] = append(samples[name], ns)
	}
	median := func(name string) float64 {
		all := samples[name]
		if len(all) == 0 {
			b.Fatalf("nothing was measured of %s", name)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	loop := median("plain")
	inside, outside := median("inside")-loop, median("outside")-loop
	b.ReportMetric(0, "ns/op") // a turn's own length says nothing
	b.ReportMetric(outside/1000, "outside-µs")
	b.ReportMetric((median("prompt")-median("plain-prompt"))/1000, "prompt-outside-µs")
	b.ReportMetric((median("empty")-median("plain-prompt"))/1000, "empty-prompt-inside-µs")
	b.ReportMetric(median("bare")/1000, "bare-µs")
	b.ReportMetric(inside/median("bare"), "inside/bare")
	b.ReportMetric(inside/median("captured"), "inside/captured")
	b.ReportMetric(outside/median("bare"), "outside/bare")
	b.ReportMetric(inside/median("direnv"), "inside/direnv")
	b.ReportMetric(median("cd")/median("direnv-load"), "cd-in/direnv-load")
	b.ReportMetric(median("cd")/median("bare"), "cd-in/bare")
	b.ReportMetric(median("direnv-outside")/median("bare"), "direnv-outside/bare")
	b.ReportMetric(median("hook")/median("bare"), "hook-script/bare")
}
