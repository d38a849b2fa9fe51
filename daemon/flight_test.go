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

// hookAs asks as the hook of a shell does and prints what it gets, but no value.
func hookAs(root string) error {
	p, err := wire.FindPlace()
	if err != nil {
		return err
	}
	client, err := Connect(context.Background(), p, "")
	if err != nil {
		return err
	}
	g, err := client.Grant(context.Background(), Query{Root: root, Shell: os.Getpid()})
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

// askTogether starts n shells and returns when the daemon has all their requests.
func (r *rig) askTogether(t *testing.T, n int) *waiters {
	t.Helper()
	w := &waiters{}
	for range n {
		out := &bytes.Buffer{}
		cmd := r.command("hook", r.root)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		w.cmds, w.outs = append(w.cmds, cmd), append(w.outs, out)
	}
	await(t, "all shells to wait", func() bool { return r.inWork() == n })
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
			w := r.askTogether(t, 30)
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
