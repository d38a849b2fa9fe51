package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"keyrack/daemon/wire"
)

// What is not in force is told, and where the person's config is strict nothing is
// served without it, from the moment that it says so.
func TestStrictServesNothingWeak(t *testing.T) {
	r := newRig(t, "none", func(o *Options) { o.weak = []string{"a moat: it is dry"} })
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.want(r.grant(), wire.OK, "A=1")
	if weak := r.status("").Daemon.Weak; !strings.Contains(strings.Join(weak, "|"), "a moat: it is dry") {
		t.Errorf("not in force: %q", weak)
	}
	r.config("strict = true\n")
	const why = "refused by strict = true, because not in force: "
	if g := r.grant(); g.Status != wire.Unavailable || len(g.Vars) > 0 || !strings.HasPrefix(strings.Join(g.Lines, ""), why) {
		t.Errorf("grant: %s, %d variables, %q", g.Status, len(g.Vars), g.Lines)
	}
	_, err := r.agent.Get(t.Context(), "acme/api", "A")
	wantError(t, err, wire.Unavailable, why)
	wantError(t, r.agent.Set(t.Context(), "acme/api", "A", []byte("2")), wire.Unavailable, why)
	r.config("strict = false\n")
	r.want(r.grant(), wire.OK, "A=1")
}

// A daemon that was started weakly by hand says so, and refuses to be one where
// the config is strict.
func TestWeakStartIsTold(t *testing.T) {
	tg := newTarget(t)
	t.Setenv("KEYRACK_AGAIN", "made so by a test") // as if the first process had failed
	cmd := tg.call("daemon", "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the daemon to listen", func() bool { return answers(tg.place) })
	if out := tg.do(t, "", "status"); strings.Count(out, "keyrack: not in force: an unreadable start: made so by a test\n") != 1 {
		t.Errorf("status: %s", out)
	}
	tg.do(t, "", "daemon", "stop")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	tg.strict(t)
	out, err := tg.call("daemon", "run").CombinedOutput()
	if err == nil || strings.Count(string(out), "refused by strict = true, because not in force: ") != 1 || !strings.Contains(string(out), "made so by a test") {
		t.Errorf("strict: %v: %s", err, out)
	}
}

func (tg *target) strict(t *testing.T) {
	t.Helper()
	dir := tg.dir + "/c/keyrack"
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(dir+"/config.toml", []byte("strict = true\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	tg.own(t, dir, dir+"/config.toml")
}

// A kernel that runs no memory, which is a setting for a tree of processes: a
// client starts a daemon all the same, which tells, or with strict one line.
func TestNoExecutableMemory(t *testing.T) {
	tg := newTarget(t)
	if os.Geteuid() != 0 {
		t.Log("not root: vm.memfd_noexec can't be set; package harden holds the refusal of a memfd")
		return
	}
	inside := func(script string) string {
		t.Helper()
		script = `echo 2 >/proc/sys/vm/memfd_noexec || exit 9; exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '` + script + `'`
		cmd := tg.call("--pid", "--fork", "--mount-proc", "sh", "-c", script, tg.keyrack.exe)
		cmd.SysProcAttr = nil
		var err error
		if cmd.Path, err = exec.LookPath("unshare"); err != nil {
			t.Fatal(err)
		}
		cmd.Args[0] = "unshare"
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	run := strings.ReplaceAll(`K exec -- true; echo "exec $?"; K status; K daemon stop`, "K", tg.keyrack.exe)
	out := inside(run)
	if !strings.HasPrefix(out, "exec 0\n") || !strings.Contains(out, "keyrack: not in force: an unreadable start: making a copy in memory: permission denied\n") {
		t.Errorf("it says %s", out)
	}
	tg.strict(t)
	out = inside(run)
	if !strings.Contains(out, "the daemon can't start: refused by strict = true, because not in force: an unreadable start") || !strings.Contains(out, "exec 1\n") {
		t.Errorf("strict: it says %s", out)
	}
}

// Who becomes another program while its answer is being made gets none; of one whom
// the daemon knows already it can't be said when that was, and it is told nothing.
func TestWhoTurnsWhileAskingGetsNothing(t *testing.T) {
	t.Run("new", func(t *testing.T) {
		if rest := turnWhileAsking(t); !strings.Contains(rest, "now runs another program: refused") {
			t.Errorf("%d bytes", len(rest))
		}
	})
	t.Run("known", func(t *testing.T) {
		if rest := turnWhileAsking(t, "known"); rest != "" {
			t.Errorf("%d bytes", len(rest))
		}
	})
}

// turnWhileAsking is what reaches the program that ask-turn becomes.
func turnWhileAsking(t *testing.T, known ...string) string {
	t.Helper()
	r := newRig(t, "none", nil)
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", marker)
	asked, gate := make(chan struct{}), make(chan struct{})
	r.meets(func(context.Context) error {
		close(asked)
		<-gate
		return nil
	})
	cmd := r.command(append([]string{"ask-turn", r.place.Socket, r.root}, known...)...)
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	<-asked
	in.Close()
	lines := bufio.NewReader(out)
	for line := ""; line != "turned\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
	}
	close(gate)
	rest, err := io.ReadAll(lines)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Error(err)
	}
	if strings.Contains(string(rest), marker) {
		t.Error("it has the value")
	}
	return string(rest)
}
