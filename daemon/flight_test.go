package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"keyrack/daemon/wire"
)

// grantAs asks as the hook of a shell or a command does and prints what it gets, but
// no value.
func grantAs(q Query) error {
	p, err := wire.FindPlace()
	if err != nil {
		return err
	}
	client, err := Connect(context.Background(), p, "")
	if err != nil {
		return err
	}
	g, err := client.Grant(context.Background(), q)
	if err == nil {
		fmt.Println(g.Status, len(g.Vars), strings.Join(g.Lines, "|"))
	}
	return err
}

// waiters are processes that ask at the same time.
type waiters struct {
	cmds []*exec.Cmd
	outs []*bytes.Buffer
}

// askTogether starts n shells, or commands, and returns when the daemon has all their
// requests.
func (r *rig) askTogether(t *testing.T, role string, n int) *waiters {
	t.Helper()
	w := &waiters{}
	for range n {
		out := &bytes.Buffer{}
		cmd := r.command(role, r.root)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		w.cmds, w.outs = append(w.cmds, cmd), append(w.outs, out)
	}
	await(t, "all of them to wait", func() bool { return r.inWork() == n })
	return w
}

// all says that each of them got the same.
func (w *waiters) all(t *testing.T, want string) {
	t.Helper()
	for i, cmd := range w.cmds {
		if err := cmd.Wait(); err != nil || strings.TrimSpace(w.outs[i].String()) != want {
			t.Errorf("shell %d: %v, %q, want %q", i, err, w.outs[i], want)
		}
	}
}

// Thirty shells, each a process of its own, need one source that asks a person. It
// asks once, and holds up nobody who needs something else; that some of the shells
// go away meanwhile changes nothing.
func TestOneQuestionForThirtyShells(t *testing.T) {
	for name, tt := range map[string]struct {
		person error // what the source makes of the person's answer
		want   string
	}{
		"answered": {nil, "ok 2 "},
		"refused":  {errors.New("the keyring stays closed"), "failed 0 acme/api: the keyring stays closed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "none", nil)
			r.overSocket()
			r.worksite(twoSecrets)
			r.set("A", "1")
			r.set("B", "2")
			var asked atomic.Int32
			answered := make(chan struct{})
			r.meets(func(ctx context.Context) error {
				asked.Add(1)
				select {
				case <-answered:
					return tt.person
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			w := r.askTogether(t, "hook", 30)
			r.status("")
			if _, err := wire.Call(r.place, connectTime, nil, []byte(wire.VerbPing)); err != nil {
				t.Error(err)
			}
			for _, cmd := range w.cmds[25:] {
				cmd.Process.Kill()
				cmd.Wait()
			}
			w.cmds = w.cmds[:25]
			close(answered)
			w.all(t, strings.TrimSpace(tt.want))
			if n := asked.Load(); n != 1 {
				t.Errorf("the source asked %d times", n)
			}
			if tt.person == nil {
				r.want(r.grant(), wire.OK, "A=1 B=2")
				if n := asked.Load(); n != 1 {
					t.Errorf("the source asked %d times for what is held", n)
				}
			}
		})
	}
}

// What nobody waits for any more is ended with the tool that runs for it, and not
// remembered: as soon as somebody needs it, it is asked for again. As long as one
// waits it goes on.
func TestLastOneEndsTheTool(t *testing.T) {
	const slow = `echo $$ >>pids; [ -e answer ] || exec sleep 1000; echo v`
	r := newToolRig(t, "", slow, nil)
	r.overSocket()
	r.worksite("[secrets]\nA = 'pass:a'\n")
	pids := func() []string {
		text, _ := os.ReadFile(r.tools + "/pids")
		return strings.Fields(string(text))
	}
	ends := func(pid string) {
		t.Helper()
		await(t, "the tool to be gone", func() bool { _, err := os.Stat("/proc/" + pid); return err != nil })
	}
	w := r.askTogether(t, "grant", 3)
	await(t, "the tool to run", func() bool { return len(pids()) == 1 })
	for i, cmd := range w.cmds {
		if _, err := os.Stat("/proc/" + pids()[0]); err != nil {
			t.Fatalf("it ended with %d who waited", len(w.cmds)-i)
		}
		cmd.Process.Kill()
		cmd.Wait()
		await(t, "the request to end", func() bool { return r.inWork() == len(w.cmds)-i-1 })
	}
	ends(pids()[0])

	// what was ended is not remembered as missing
	w = r.askTogether(t, "grant", 1)
	await(t, "the tool to run", func() bool { return len(pids()) == 2 })
	if err := os.WriteFile(r.tools+"/answer", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.cmds[0].Process.Kill()
	w.cmds[0].Wait()
	ends(pids()[1])
	r.want(r.grant(), wire.OK, "A=v")
	if len(pids()) != 3 {
		t.Errorf("the tool ran %d times", len(pids()))
	}
}
