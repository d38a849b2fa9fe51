package audit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLook(t *testing.T) {
	cmd, _ := child(t, "wait", "x")
	exe, err := filepath.EvalSymlinks(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	p := Look(cmd.Process.Pid)
	if p.PID != cmd.Process.Pid || p.Exe != exe || p.ParentPID != os.Getpid() || p.UID != os.Geteuid() || p.Parent != "" {
		t.Errorf("%+v", p)
	}
	if name := filepath.Base(exe); !strings.HasPrefix(name, p.Command) || p.Command == "" {
		t.Errorf("command %q of %s", p.Command, name)
	}
	if with := p.WithParent(); with.Parent != p.Command {
		t.Errorf("parent %q", with.Parent)
	}
	if !p.Below(os.Getpid()) || !p.Below(os.Getppid()) || p.Below(p.PID) || p.Below(1<<22) {
		t.Error("Below is wrong about who led to it")
	}
	if gone := Look(1 << 22); gone != (Process{PID: 1 << 22, UID: os.Geteuid()}) {
		t.Errorf("a process that is not there: %+v", gone)
	}
}

// The terminal of a process that has a real one, and none.
func TestLookTerminal(t *testing.T) {
	master, name, err := newTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	slave, err := os.OpenFile("/dev/"+name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for want, attr := range map[string]*unix.SysProcAttr{name: {Setsid: true, Setctty: true}, "": {Setsid: true}} {
		p, err := os.StartProcess(exe, []string{exe, "wait", "x"}, &os.ProcAttr{Files: []*os.File{slave, nil, nil}, Sys: attr})
		if err != nil {
			t.Fatal(err)
		}
		if got := Look(p.Pid).TTY; got != want {
			t.Errorf("terminal %q, want %q", got, want)
		}
		p.Kill()
		p.Wait()
	}
}

func newTerminal() (master *os.File, name string, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, "", err
	}
	err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	n, errN := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	return master, "pts/" + strconv.Itoa(n), errors.Join(err, errN)
}

func TestStatOfOddNames(t *testing.T) {
	for text, want := range map[string]stat{
		"1 (sh) S 2 1 1 34817 1":              {"sh", "pts/1", 2},
		"1 (a) R 1 (b) S 2 1 1 34816 1":       {"a) R 1 (b", "pts/0", 2},
		"1 (\n) S 3 1 1 0 1":                  {"\n", "", 3},
		"1 (x) S 3 1 1 1025 1":                {"x", "tty1", 3},
		"1 (x) S 3 1 1 1088 1":                {"x", "ttyS0", 3},
		"1 (x) S 3 1 1 -2147448832 1":         {"x", "pts/524288", 3},
		"1 (x) S 3 1 1 1280 1":                {"x", "5:0", 3},
		"1 (x) S":                             {"x", "", 0},
		"":                                    {},
		")(":                                  {},
		"1 (zombie) Z 3 1 1 99999999999999 1": {"zombie", "", 3},
	} {
		if got := parseStat(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// program is which program process pid runs.
func program(pid int) (dev, ino uint64) {
	var st unix.Stat_t
	unix.Stat("/proc/"+strconv.Itoa(pid)+"/exe", &st)
	return uint64(st.Dev), st.Ino
}

func (ps *Peers) look(pid int) Process {
	dev, ino := program(pid)
	return ps.Look(pid, dev, ino)
}

// Who runs another program now is looked up again; who is gone is not mistaken
// for another.
func TestPeers(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir() + "/other"
	data, err := os.ReadFile(exe)
	if err := errors.Join(err, os.WriteFile(other, data, 0o700)); err != nil {
		t.Fatal(err)
	}
	var peers Peers
	defer peers.Close()
	cmd, send := child(t, "become", other)
	pid := cmd.Process.Pid
	first := peers.look(pid)
	if again := peers.look(pid); again != first || len(peers.known) != 1 {
		t.Errorf("%+v, then %+v", first, again)
	}
	send("x")
	await(t, "another program", func() bool { return peers.look(pid).Exe == other })
	if p := peers.look(pid); p.Command != "other" {
		t.Errorf("%+v", p)
	}
	dev, ino := program(pid)
	cmd.Process.Kill()
	cmd.Process.Wait()
	if p := peers.Look(pid, dev, ino); p != (Process{PID: pid, UID: os.Geteuid()}) || len(peers.known) != 0 {
		t.Errorf("after its end: %+v, %d known", p, len(peers.known))
	}
	if peers.Look(os.Getpid(), 0, 0).PID != os.Getpid() || len(peers.known) != 0 {
		t.Error("a process whose program is unknown is remembered")
	}
}

func TestPeersAreBounded(t *testing.T) {
	var peers Peers
	defer peers.Close()
	for range maxPeers + 5 {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		peers.look(cmd.Process.Pid)
		if len(peers.known) > maxPeers {
			t.Fatalf("%d known", len(peers.known))
		}
	}
}

func BenchmarkLook(b *testing.B) {
	var peers Peers
	defer peers.Close()
	dev, ino := program(os.Getppid())
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			peers.Look(os.Getppid(), dev, ino)
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			Look(os.Getppid())
		}
	})
}
