package harden

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSecondStartIsUnreadable(t *testing.T) {
	got := role(t, "start")
	want := `born dumpable 0, now 0, keyrack, program /the/program, weak [], GOTRACEBACK=none, left false, can read itself false` + "\n" +
		"child: born dumpable 0\n"
	if got != want {
		t.Errorf("the process says %swant %s", got, want)
	}
}

// Root may read a file of any mode; the second start is unreadable all the same,
// for who is root without the right to trace, as in most containers. Its children
// are so from the moment that they say so.
func TestRootIsUnreadableToo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: held by TestSecondStartIsUnreadable alone")
		return
	}
	cmd := roleCommand(t, "start")
	cmd.SysProcAttr = nil
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "born dumpable 0, now 0, keyrack, ") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNoExecutableMemory(t *testing.T) {
	got := role(t, "unsealed")
	want := `born dumpable 1, now 0, `
	if !strings.HasPrefix(got, want) || !strings.Contains(got, `weak ["an unreadable start: making a copy in memory: permission denied"], GOTRACEBACK=none, left false`) {
		t.Errorf("the process says %s", got)
	}
}

func TestTracedIsRefused(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is not installed: ", err)
	}
	for _, args := range [][]string{{"-f"}, {}} {
		cmd := roleCommand(t, "start")
		cmd.Args = append(append([]string{strace, "-o", "/dev/null"}, args...), cmd.Path, "start")
		cmd.Path = strace
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), `it is being traced by "strace" (pid `) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("under strace %q: %v: %s", args, err, out)
		}
	}
}

func TestFilter(t *testing.T) {
	got := strings.Split(strings.TrimSpace(role(t, "filtered")), "\n")
	want := []string{"here: permission denied", "child: <nil>, no new privileges 1, seccomp 2"}
	if release(t) < 6006 {
		t.Log("before Linux 6.6: MDWE is not in force, and said so")
		want = []string{`weak ["no new code in memory (MDWE): invalid argument"]`, "here: <nil>", want[1]}
	}
	for i, line := range got {
		if strings.HasPrefix(line, "no keys here:") {
			t.Log(line)
			got = append(got[:i], got[i+1:]...)
			break
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the process says %q", got)
	}
}

func TestNoFilterIsSaid(t *testing.T) {
	if got := role(t, "unfiltered"); !strings.Contains(got, `"a system call filter: operation not permitted"`) {
		t.Errorf("the process says %s", got)
	}
}

// evaluate runs a filter as the kernel would.
func evaluate(program []unix.SockFilter, call, arch uint32, args ...uint32) uint32 {
	var a uint32
	for pc := 0; ; pc++ {
		i := program[pc]
		yes := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch {
			case i.K == offCall:
				a = call
			case i.K == offArch:
				a = arch
			default:
				a = args[(i.K-offArg0)/argSize]
			}
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= i.K
		}
		if yes {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
}

func TestCompile(t *testing.T) {
	program := compile(rules)
	const allow, kill = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_KILL_PROCESS
	errno := func(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }
	tests := []struct {
		name             string
		call, arch, arg0 uint32
		want             uint32
	}{
		{"read", unix.SYS_READ, auditArch, 0, allow},
		{"execve", unix.SYS_EXECVE, auditArch, 0, allow},
		{"the last call", 0x3fffffff, auditArch, 0, allow},
		{"x32", 0x40000000 | unix.SYS_PTRACE, auditArch, 0, errno(unix.ENOSYS)},
		{"-1", 0xffffffff, auditArch, 0, errno(unix.ENOSYS)},
		{"i386", 26, unix.AUDIT_ARCH_I386, 0, kill},
		{"arm", unix.SYS_READ, unix.AUDIT_ARCH_ARM, 0, kill},
		{"no architecture", unix.SYS_READ, 0, 0, kill},
		{"keyctl 0", unix.SYS_KEYCTL, auditArch, unix.KEYCTL_GET_KEYRING_ID, allow},
		{"keyctl last", unix.SYS_KEYCTL, auditArch, unix.KEYCTL_CAPABILITIES, allow},
		{"keyctl other", unix.SYS_KEYCTL, auditArch, unix.KEYCTL_SESSION_TO_PARENT, errno(unix.EPERM)},
		{"socket", unix.SYS_SOCKET, auditArch, unix.AF_UNIX, allow},
		{"socket other", unix.SYS_SOCKET, auditArch, unix.AF_INET, errno(unix.EAFNOSUPPORT)},
		{"socketpair", unix.SYS_SOCKETPAIR, auditArch, unix.AF_UNIX, allow},
	}
	for _, tt := range tests {
		if got := evaluate(program, tt.call, tt.arch, tt.arg0); got != tt.want {
			t.Errorf("%s: %#x, not %#x", tt.name, got, tt.want)
		}
	}
	for _, r := range rules {
		if got := evaluate(program, r.call, auditArch, 1<<20); got != errno(r.err) {
			t.Errorf("call %d: %#x", r.call, got)
		}
	}
}
