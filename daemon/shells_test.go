package daemon

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyrack/daemon/wire"
)

// tellTale is a shell that says so when it gets SIGURG.
type tellTale struct {
	pid  int
	said chan string
}

func newTellTale(t *testing.T) *tellTale {
	t.Helper()
	cmd := exec.Command("sh", "-c", `trap 'echo urged' URG; echo ready; while :; do sleep 0.01; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &tellTale{pid: cmd.Process.Pid, said: make(chan string, 100)}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.said <- lines.Text()
		}
		close(s.said)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range s.said {
		}
		cmd.Wait()
	})
	s.hears(t, "ready")
	return s
}

func (s *tellTale) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-s.said:
		if got != want {
			t.Fatalf("the shell says %q, not %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the shell does not say %q", want)
	}
}

// hearsNothing sends a signal of its own after which there must be one word only.
func (s *tellTale) hearsNothing(t *testing.T) {
	t.Helper()
	if err := unix.Kill(s.pid, unix.SIGURG); err != nil {
		t.Fatal(err)
	}
	s.hears(t, "urged")
	select {
	case got := <-s.said:
		t.Errorf("the shell also says %q", got)
	case <-time.After(50 * time.Millisecond):
	}
}

const treeSite = "export = \"tree\"\n[secrets]\nA = { ttl = \"1s\" }\n"

func (r *rig) hook(t *testing.T, s *tellTale) *wire.Grant {
	t.Helper()
	g, err := r.agent.Grant(t.Context(), Query{Root: r.root, Shell: s.pid})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestTreeShellsAreUrged(t *testing.T) {
	for name, overSocket := range map[string]bool{"cache": false, "client": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "none", nil)
			if overSocket {
				r.overSocket()
			}
			r.worksite(treeSite)
			r.set("A", "1")
			s := newTellTale(t)
			g := r.hook(t, s)
			r.want(g, wire.OK, "A=1")
			if g.Mode != wire.ModeTree || g.Generation != r.generation() {
				t.Errorf("mode %q", g.Mode)
			}
			s.hears(t, "urged") // the value ended
			if g.Generation == r.generation() {
				t.Error("the end of a value left the generation")
			}
			for _, change := range []struct {
				name string
				do   func()
			}{
				{"set", func() { r.set("A", "2") }},
				{"touch", func() { r.agent.Touch(t.Context()) }},
				{"lock", r.lock},
				{"unlock", func() { r.unlock(nil, 0) }},
			} {
				before := r.generation()
				change.do()
				s.hears(t, "urged")
				if r.generation() == before {
					t.Errorf("%s left the generation", change.name)
				}
			}
			r.worksite("[secrets]\nA = { ttl = \"1s\" }\n") // no longer a tree
			r.hook(t, s)
			r.set("A", "3")
			s.hearsNothing(t)
		})
	}
}

// In a worksite that exports a command at a time, the end of a value is nobody's
// business: no shell is told and no generation changes.
func TestCommandShellsAreLeftAlone(t *testing.T) {
	r := newRig(t, "none", nil)
	r.worksite("[secrets]\nA = { ttl = \"100ms\" }\n")
	r.set("A", "1")
	s := newTellTale(t)
	before := r.hook(t, s).Generation
	await(t, "the value to end", r.cache.empty)
	if r.generation() != before {
		t.Error("the end of a value changed the generation")
	}
	s.hearsNothing(t)
}

// The pid of a shell that is gone may be another process's by now.
func TestRecycledPidIsNotUrged(t *testing.T) {
	r := newRig(t, "none", nil)
	s := newTellTale(t)
	r.cache.register(s.pid, r.root)
	known := r.cache.shells[s.pid]
	if known.start == "" {
		t.Fatal("the shell is not registered")
	}
	known.start += "0"
	r.cache.shells[s.pid] = known
	if err := r.agent.Touch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.cache.shells) != 0 {
		t.Error("a shell that is gone is still registered")
	}
	s.hearsNothing(t)
}

func TestWhoIsNoShell(t *testing.T) {
	r := newRig(t, "none", nil)
	for _, pid := range []int{-1, 1 << 30} {
		r.cache.register(pid, r.root)
	}
	if os.Geteuid() != 0 {
		r.cache.register(1, r.root) // another user's
	} else {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		r.cache.register(cmd.Process.Pid, r.root)
	}
	if len(r.cache.shells) != 0 {
		t.Errorf("registered %d", len(r.cache.shells))
	}
}

func TestShellsAreBounded(t *testing.T) {
	r := newRig(t, "none", nil)
	for i := range maxShells {
		r.cache.shells[1<<30+i] = shell{1<<30 + i, "1", r.root}
	}
	s := newTellTale(t)
	r.cache.register(s.pid, r.root)
	if len(r.cache.shells) != 1 {
		t.Errorf("%d shells are registered", len(r.cache.shells))
	}
}
