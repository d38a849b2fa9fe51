package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What tools put out, and what files hold, goes past the heap of the daemon and past
// the process that starts tools: root finds none of it in either.
func TestRootFindsNoValueOfTools(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("not root: this test reads the memory of another user's process")
	}
	tg := newTarget(t)
	bin := tg.dir + "/bin"
	long := strings.Repeat(rootMarker, 4000)
	err := errors.Join(os.Mkdir(bin, 0o755),
		os.WriteFile(bin+"/pass", []byte("#!/bin/sh\n[ $3 != bad ] || { cat "+tg.root+"/short; cat "+tg.root+"/short >&2; exit 1; }\ncat "+tg.root+"/long\n"), 0o755),
		os.WriteFile(bin+"/sops", []byte("#!/bin/sh\ncat "+tg.root+"/json\n"), 0o755),
		os.WriteFile(tg.root+"/short", []byte(rootMarker+"\n"), 0o644),
		os.WriteFile(tg.root+"/long", []byte(long+"\n"), 0o644),
		os.WriteFile(tg.root+"/json", []byte(`{"a":"`+rootMarker+`","b":"`+long+`"}`), 0o644),
		os.WriteFile(tg.root+"/env", []byte("A='"+long+"'\n"), 0o644),
		os.WriteFile(tg.root+"/.keyrack.toml", []byte(`[secrets]
A = "pass:a"
B = "sops:json#a"
C = "sops:json#b"
D = "file:json#/a"
E = "dotenv:env#A"
F = "file:long"
G = { from = "pass:bad", required = false }
`), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	cmd := tg.call("daemon", "run")
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(unix.SIGTERM); cmd.Wait() })
	await(t, "the daemon to listen", func() bool { return answers(tg.place) })
	tg.do(t, "", "allow")
	daemon := &looker{t: t, pid: cmd.Process.Pid, control: tg.dir + "/c/keyrack/config.toml", secret: true}
	runner := &looker{t: t, pid: childOf(t, cmd.Process.Pid, "__runner"), control: bin}
	look := func(when string, held int) {
		t.Helper()
		if n := tg.held(t); n != held {
			t.Fatalf("%s: %d values are held", when, n)
		}
		daemon.check(when+", the daemon:", false, daemon.inMemory())
		runner.check(when+", the runner:", false, runner.inMemory())
	}
	tg.do(t, "", "exec", "--", "sh", "-c", `test ${#A} -eq ${#F} && test ${#A} -eq ${#C} && test "$B" = "$D" && test ${#E} -gt 1000`)
	look("held", 6)
	tg.do(t, "", "lock")
	look("lock", 0)
}

// childOf is the child of process pid whose last argument is arg.
func childOf(t *testing.T, pid int, arg string) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		status, _ := os.ReadFile(dir + "/status")
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		if strings.Contains(string(status), "\nPPid:\t"+strconv.Itoa(pid)+"\n") && strings.HasSuffix(string(cmdline), "\x00"+arg+"\x00") {
			child, _ := strconv.Atoi(filepath.Base(dir))
			return child
		}
	}
	t.Fatalf("process %d has no child %s", pid, arg)
	return 0
}
