package source

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyrack/daemon/arena"
	"keyrack/worksite"
)

// withTool is Tools where a script of sh stands for the tools.
func withTool(t *testing.T, script string) (Tools, Place) {
	return toolsIn(t, script, os.Getenv("PATH"))
}

func toolsIn(t *testing.T, script, path string) (Tools, Place) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pass", "sops", "kubectl"} {
		if err := os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"PATH=" + dir + ":" + path, "HOME=" + dir, "GNUPGHOME=/g"}
	t.Setenv("PATH", "/nonexistent") // the runner's is what counts
	runner, err := StartRunner(self, environ)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runner.Close)
	a, err := arena.New(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return Tools{Reader: Opener{Program: self}, Runner: runner, Arena: a, Environ: environ}, Place{Dir: dir, Home: dir}
}

func ask(t *testing.T, tools Tools, place Place, texts ...string) (got []string) {
	t.Helper()
	var batch []worksite.Source
	for _, text := range texts {
		s, err := worksite.ParseSource(text)
		if err != nil {
			t.Fatal(text, err)
		}
		batch = append(batch, s)
	}
	for _, g := range tools.Ask(context.Background(), place, batch) {
		switch {
		case g.Err == nil:
			got = append(got, string(g.Value.Bytes()))
			tools.Arena.Free(g.Value)
		case g.Err.Absent:
			got = append(got, "absent: "+g.Err.Text)
		case g.Err.Down:
			got = append(got, "down: "+g.Err.Text)
		default:
			got = append(got, "failed: "+g.Err.Text)
		}
	}
	return got
}

func TestRun(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for name, tt := range map[string]struct{ script, source, want string }{
		"first line":        {`printf 'a b\nc\n'`, "pass:x", "a b"},
		"no newline":        {`printf 'a'`, "pass:x", "a"},
		"nothing":           {`:`, "pass:x", ""},
		"whole":             {`printf 'a\nb\n\n'`, "pass:x#*", "a\nb\n"},
		"arguments":         {`printf '%s|' "$@"`, "pass:a 'b' $c", "show|--|a 'b' $c|"},
		"where":             {`pwd; printf %s "${PWD##*/}" >&2`, "pass:x", "DIR"},
		"input":             {`cat; echo end`, "pass:x", "end"},
		"no terminal":       {`(: </dev/tty) 2>/dev/null && echo tty || echo none`, "pass:x", "none"},
		"environment":       {`echo "$HOME $GNUPGHOME ${KEYRACK_X-unset}"`, "pass:x", "DIR /g unset"},
		"1 MiB":             {`head -c 1048576 /dev/zero | tr '\0' x`, "pass:x#*", big},
		"over 1 MiB":        {`head -c 1048577 /dev/zero | tr '\0' x; sleep 100`, "pass:x#*", "failed: pass:x#*: pass: over 1 MiB"},
		"much said":         {`head -c 1048576 /dev/zero | tr '\0' x >&2; echo a`, "pass:x", "a"},
		"left behind":       {`sleep 100 & echo a`, "pass:x", "a"},
		"left in a session": {`setsid sleep 3 & echo a`, "pass:x", "a"},
		"listing":           {`printf 'dir\n|-- a\n'`, "pass:dir/", "absent: pass:dir/: it is a directory"},
		"exit code":         {`exit 3`, "pass:x", "failed: pass:x: pass: exit code 3"},
		"first error line":  {`printf '\na\033[2Jb\nc\n' >&2; exit 1`, "pass:x", `failed: pass:x: pass: a\x1b[2Jb`},
		"masked":            {`printf 'hunter2\nmore\n'; echo "no: hunter2, more" >&2; exit 1`, "pass:x", "failed: pass:x: pass: no: *******, ****"},
		"absent":            {`echo 'Error: x is not in the password store.' >&2; exit 1`, "pass:x", "absent: pass:x: Error: x is not in the password store."},
		"logged out":        {`echo 'gpg: decryption failed: No secret key' >&2; exit 2`, "pass:a b", "down: pass:a b: gpg: decryption failed: No secret key: first, in a terminal: pass show -- 'a b' >/dev/null"},
		"killed":            {`kill -9 $$`, "pass:x", "failed: pass:x: pass: exit code -1"},
		"too slow":          {`sleep 100`, "pass:slow", "down: pass:slow: no answer in time"},
		"deaf":              {`trap '' TERM INT HUP; exec >&- 2>&-; sleep 100`, "pass:slow", "down: pass:slow: no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			tools, place := withTool(t, tt.script)
			if strings.HasSuffix(tt.source, "slow") {
				tools.Limit = 200 * time.Millisecond
			}
			got := strings.ReplaceAll(ask(t, tools, place, tt.source)[0], place.Dir, "DIR")
			if got != tt.want {
				t.Errorf("got %.200q, not %.200q", got, tt.want)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	tools, place := toolsIn(t, "", ".")
	if err := os.Remove(place.Dir + "/pass"); err != nil {
		t.Fatal(err)
	}
	want := "down: pass:x: pass is not installed, or not in the PATH that the daemon was started with: https://www.passwordstore.org/#download"
	if got := ask(t, tools, place, "pass:x")[0]; got != want {
		t.Errorf("got %q", got)
	}
	place.Dir += "/gone"
	want = "down: pass:x: running pass: no such file or directory"
	tools, _ = withTool(t, "")
	if got := ask(t, tools, place, "pass:x")[0]; got != want {
		t.Errorf("got %q", got)
	}
	tools.Runner.Close()
	want = "down: pass:x: the process that runs tools is gone: keyrack daemon stop"
	if got := ask(t, tools, place, "pass:x")[0]; got != want {
		t.Errorf("got %q", got)
	}
}

// pidsIn waits for n lines in a file.
func pidsIn(t *testing.T, file string, n int) (pids []int) {
	t.Helper()
	await(t, "the tool to start", func() bool {
		text, _ := os.ReadFile(file)
		pids = nil
		for _, word := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(word)
			pids = append(pids, pid)
		}
		return len(pids) == n
	})
	return pids
}

func dead(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(text), ") Z ")
}

// Whoever gives up, or dies, leaves nothing running.
func TestNothingStays(t *testing.T) {
	for name, end := range map[string]func(cancel func(), r *Runner){
		"gives up":      func(cancel func(), _ *Runner) { cancel() },
		"runner closed": func(_ func(), r *Runner) { r.Close() }, // what the end of its parent does, too
	} {
		t.Run(name, func(t *testing.T) {
			tools, place := withTool(t, `sleep 100 & echo $! $$ >pids; wait`)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			got := make(chan []Got, 1)
			go func() { got <- tools.Ask(ctx, place, []worksite.Source{{Scheme: "pass", Path: "x"}}) }()
			pids := pidsIn(t, filepath.Join(place.Dir, "pids"), 2)
			end(cancel, tools.Runner)
			if name == "runner closed" {
				cancel() // its pipes end with the daemon
			}
			await(t, "the tool to be gone", func() bool { return dead(pids[0]) && dead(pids[1]) })
			if g := <-got; g[0].Err == nil || !g[0].Err.Down {
				t.Errorf("got %+v", g[0].Err)
			}
		})
	}
}

func TestFields(t *testing.T) {
	tools, place := withTool(t, "")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(place.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", "a\nb\n\n")
	write("big", strings.Repeat("x", 1<<20+1))
	write("json", `{"s":"a\u00e9\n","n":1.50,"b":true,"z":null,"o":{"x":[0,{"y":"deep"}]},"a/b":"slash","~":"tilde","":"empty","n":2.50}`)
	write("env", "A=1\nB='b'\n")
	write("bad", "A=hunter2\nhunter2\n")
	if err := syscall.Mkfifo(place.Dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"file:plain":                 "a\nb\n",
		"file:~/plain":               "a\nb\n",
		"file:json#/s":               "aé\n",
		"file:json#/n":               "2.50",
		"file:json#/b":               "true",
		"file:json#/z":               "absent: file:json#/z: null stands there",
		"file:json#/o/x":             `[0,{"y":"deep"}]`,
		"file:json#/o/x/1/y":         "deep",
		"file:json#/o/x/2":           "absent: file:json#/o/x/2: it has nothing there",
		"file:json#/o/x/01":          "absent: file:json#/o/x/01: it has nothing there",
		"file:json#/s/x":             "absent: file:json#/s/x: it has nothing there",
		"file:json#/a~1b":            "slash",
		"file:json#/~0":              "tilde",
		"file:json#/":                "empty",
		"file:plain#/a":              "failed: file:plain#/a: it is not JSON",
		"file:big":                   "failed: file:big: over 1 MiB",
		"file:fifo":                  "failed: file:fifo: not a regular file",
		"file:.":                     "failed: file:.: not a regular file",
		"file:none":                  "absent: file:none: there is no such file",
		"dotenv:env#B":               "b",
		"dotenv:env#C":               "absent: dotenv:env#C: it has no such variable",
		"dotenv:bad#A":               "failed: dotenv:bad#A: 2:1: a line is NAME=value, NAME made of A-Z, a-z, 0-9 and _",
		"file:" + place.Dir + "/env": "A=1\nB='b'",
	} {
		if got := ask(t, tools, place, text)[0]; got != want {
			t.Errorf("%s: got %q, not %q", text, got, want)
		}
	}
	got := ask(t, tools, place, "dotenv:env#A", "dotenv:env#C", "dotenv:env#B")
	if strings.Join(got, "|") != "1|absent: dotenv:env#C: it has no such variable|b" {
		t.Errorf("a batch gives %q", got)
	}
}

// A tool whose output has many values runs once for all of them.
func TestPick(t *testing.T) {
	const k8s = `[ "$*" = 'get secret --namespace dev --output json -- db' ] || exit 9; echo >>runs; `
	for name, tt := range map[string]struct {
		script string
		texts  []string
		want   string
	}{
		"keys": {k8s + `echo '{"data":{"A":"aHVudGVyMg==","t.crt":"YQpiCg==","bad":"%"}}'`, []string{"k8s://dev/db#A", "k8s://dev/db#t.crt", "k8s://dev/db#a/b", "k8s://dev/db#bad"},
			"hunter2|a\nb\n|absent: k8s://dev/db#a/b: it has nothing there|failed: k8s://dev/db#bad: it is not base64"},
		"pointers": {`echo >>runs; echo '{"A":"1","/B":"2","c":{"d":"3"}}'`, []string{"sops:x#A", "sops:x#/c/d"}, "1|3"},
		"fails":    {k8s + `echo 'Error from server (NotFound): secrets "db" not found' >&2; exit 1`, []string{"k8s://dev/db#A"}, `absent: k8s://dev/db#A: Error from server (NotFound): secrets "db" not found`},
		"masked":   {k8s + `echo '{"data":{"A":"aHVudGVyMg=="}}'; echo no hunter2 >&2; exit 1`, []string{"k8s://dev/db#A", "k8s://dev/db#B"}, "failed: k8s://dev/db#A: kubectl: no *******|failed: k8s://dev/db#B: kubectl: no *******"},
		"no JSON":  {`echo >>runs; echo hunter2`, []string{"sops:x#A"}, "failed: sops:x#A: it is not JSON"},
		"too much": {`echo >>runs; head -c 2000000 /dev/zero`, []string{"sops:x#A"}, "failed: sops:x#A: over 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			tools, place := withTool(t, tt.script)
			if got := strings.Join(ask(t, tools, place, tt.texts...), "|"); got != tt.want {
				t.Errorf("got %q, not %q", got, tt.want)
			}
			if runs, _ := os.ReadFile(place.Dir + "/runs"); len(runs) != 1 {
				t.Errorf("ran %d times", len(runs))
			}
		})
	}
}

func TestBatches(t *testing.T) {
	var all []worksite.Source
	for _, text := range []string{"dotenv:a#A", "pass:x", "dotenv:b#A", "dotenv:a#B", "pass:x#*", "file:a", "file:a#/x", "pass:x"} {
		s, err := worksite.ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	got := Batches(all)
	want := [][]int{{0, 3}, {1, 7}, {2}, {4}, {5, 6}}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if len(got[i]) != len(want[i]) || got[i][0] != want[i][0] || got[i][len(got[i])-1] != want[i][len(want[i])-1] {
			t.Errorf("%v, not %v", got, want)
		}
	}
}

func TestToolsAreComplete(t *testing.T) {
	for _, name := range worksite.Schemes() {
		row := toolOf(name)
		if name == "exec" { // it is the worksite's own
			continue
		}
		if row.argv != nil && row.get == "" {
			t.Errorf("%s does not say where to get the tool", name)
		}
		if (row.loggedOut == nil) != (row.login == "") {
			t.Errorf("%s does not say how to log in", name)
		}
	}
	if len(tools) != len(worksite.Schemes()) {
		t.Error("there are rows that no worksite can name")
	}
}
