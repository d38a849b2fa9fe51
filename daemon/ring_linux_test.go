package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

// plainCode is what these tests have in the place of shell code: the status, and a
// line for each variable.
func plainCode(shell string, g *wire.Grant, room func(int) ([]byte, error)) ([]byte, error) {
	size := len(g.Status) + 1
	for _, v := range g.Vars {
		size += len(v.Name) + len(v.Value) + 2
	}
	code, err := room(size)
	if err != nil {
		return nil, err
	}
	code = append(append(code, g.Status...), '\n')
	for _, v := range g.Vars {
		code = append(append(append(append(code, v.Name...), '='), v.Value...), '\n')
	}
	return code, nil
}

// ringer asks as the hook of bash does: $1 is the directory, $2 the question. It prints
// the number and the code.
const ringer = `{
	: >>"$1/$BASHPID"
	read -r -N 9 -t 10 -u 8 || { echo none; exit; }
	read -r -N "$((10#${REPLY#?}))" -u 8 code
	echo "${REPLY#?} $code"
} 7<<<"$2" 8<<<'' 8<>/dev/fd/8`

func ring(t *testing.T, p wire.Place, question string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", ringer, "bash", p.Asks, question).CombinedOutput()
	if err != nil {
		t.Fatalf("ringing: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// ringable holds A=1 and can be rung.
func ringable(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, "none", func(o *Options) { o.Code = plainCode })
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	r.grant()
	return r
}

// hookAsks is what the shell 4242 asks for the worksite at root.
func hookAsks(root string) string { return "#keyrack 1 bash 4242 " + root }

func TestRing(t *testing.T) {
	r := newRig(t, "none", func(o *Options) { o.Code = plainCode })
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "it's 1")
	const none = "00000000"
	asks := func(when, question, want string) {
		t.Helper()
		if got := ring(t, r.place, question); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	asks("before it is held", hookAsks(r.root), none)
	r.want(r.grant(), wire.OK, "A=it's 1")
	asks("held", hookAsks(r.root), "00000012 ok\nA=it's 1")
	asks("held, asked again", hookAsks(r.root), "00000012 ok\nA=it's 1")
	asks("another version", "#keyrack 2 bash 4242 "+r.root, none)
	asks("no process id", "#keyrack 1 bash x "+r.root, none)
	asks("no root", "#keyrack 1 bash 4242", none)
	asks("no worksite", hookAsks(r.dir+"/c"), "00000008 invalid")
	r.deny()
	asks("denied", hookAsks(r.root), "00000012 not-allowed")
	r.allow()
	r.lock()
	asks("locked", hookAsks(r.root), "00000007 locked")
	r.unlock(nil, 0)
	r.set("A", strings.Repeat("x", 70<<10))
	r.grant()
	asks("over what a pipe takes", hookAsks(r.root), none)
	r.set("A", "2")
	asks("not held any more", hookAsks(r.root), none)
	r.grant()
	asks("held again", hookAsks(r.root), "00000007 ok\nA=2")
}

// asker asks as fish does: $1 is the directory, $2 the question, which stands before the
// answer in what it prints.
const asker = `exec 5<<<"$2"
: >"$1/$$"
while [ -e "$1/$$" ]; do :; done
cat <&5`

func TestAsk(t *testing.T) {
	r := newRig(t, "none", func(o *Options) { o.Code = plainCode })
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1")
	asks := func(when, question, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "bash", "-c", asker, "bash", r.place.Asks, question).CombinedOutput()
		if got, asked := strings.CutPrefix(string(out), question+"\n"); err != nil || !asked || got != want {
			t.Errorf("%s: %v, %q, want %q", when, err, out, want)
		}
	}
	question := "#keyrack 1 fish 4242 " + r.root
	asks("before it is held", question, "")
	r.grant()
	asks("held", question, "ok\nA=1\n")
	asks("another version", "#keyrack 2 fish 4242 "+r.root, "")
	asks("no question", "what else is in a pipe", "")
	r.lock()
	asks("locked", question, "locked\n")
	if left, err := os.ReadDir(r.place.Asks); err != nil || len(left) > 0 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}

func TestManyRingAtOnce(t *testing.T) {
	r := ringable(t)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if got := ring(t, r.place, hookAsks(r.root)); got != "00000007 ok\nA=1" {
				t.Errorf("one got %q", got)
			}
		})
	}
	all.Wait()
}

// Whoever rings without a question, however often, keeps nobody else waiting, and has
// the daemon start nothing.
func TestFloodOfRings(t *testing.T) {
	r := ringable(t)
	before := runtime.NumGoroutine()
	for range 20000 {
		if err := os.WriteFile(r.place.Asks+"/"+strconv.Itoa(os.Getpid()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine(); n > before+20 {
		t.Errorf("%d goroutines more", n-before)
	}
	if got := ring(t, r.place, hookAsks(r.root)); got != "00000007 ok\nA=1" {
		t.Errorf("after the flood: %q", got)
	}
}

func TestRingOfAnotherSession(t *testing.T) {
	r := newRig(t, "none", func(o *Options) { o.Place, o.Code = wire.PlaceIn(o.Place.Dir, wire.SessionID()+"7"), plainCode })
	r.worksite("[secrets]\nA = { default = \"1\", required = false }\n")
	r.place = r.options.Place
	listener, unlink, err := listen(r.place)
	if err != nil {
		t.Fatal(err)
	}
	defer unlink()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { newServer(r.options, r.cache, cancel).run(ctx, listener) })
	defer running.Wait()
	defer cancel()
	await(t, "the directory", func() bool { _, err := os.Lstat(r.place.Asks); return err == nil })
	if got := ring(t, r.place, hookAsks(r.root)); got != "00000000" {
		t.Errorf("another session gets %q", got)
	}
}

// Of a process that does not ask in the way of the hook nothing is taken and nothing
// is written to it, whatever is rung.
func TestWhoDoesNotAskIsLeftAlone(t *testing.T) {
	const asked = "#keyrack 1 bash 4242 /w\\n"
	for name, set := range map[string]string{
		"another pipe":          `exec 7< <(printf 'keys %s\n' 'of mine') 8> >(cat >out)`,
		"a file for a question": `printf '` + asked + `' >in; exec 7<in 8> >(cat >out)`,
		"a file for an answer":  `exec 7< <(printf '` + asked + `') 8>out`,
		"no pipe for an answer": `exec 7< <(printf '` + asked + `') 8>&-; : >out`,
		"nothing":               `exec 7<&- 8>&-; : >out; exec 7</dev/null`,
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("bash", "-c", set+`; echo ready; read -r; cat <&7 >left; exec 8>&-; wait; touch out`)
			cmd.Dir = t.TempDir()
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ready := make([]byte, 6)
			if _, err := out.Read(ready); err != nil {
				t.Fatal(err)
			}
			if a, question, err := findQuestion(cmd.Process.Pid); err == nil {
				shell, _, _ := parseQuestion(question)
				if fd, err := a.openAnswer(shell); err == nil {
					t.Errorf("%q was taken for a question, %d for the answer's pipe", question, fd)
				}
				a.close()
			}
			in.Write([]byte("\n"))
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			written, err := os.ReadFile(cmd.Dir + "/out")
			if err != nil || len(written) != 0 {
				t.Errorf("%q was written: %v", written, err)
			}
			left, _ := os.ReadFile(cmd.Dir + "/left")
			if name != "nothing" && len(left) == 0 {
				t.Error("what was in its pipe is gone")
			}
		})
	}
}

// A process of another user has no answer from this user's daemon, also not where that
// may look into it.
func TestRingOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: no second user is tried")
		return
	}
	for name, cred := range map[string]*syscall.Credential{"nobody": {Uid: 65534, Gid: 65534}, "root": nil} {
		cmd := exec.Command("cat")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := mayRing(cmd.Process.Pid); (err == nil) != (cred == nil) {
			t.Errorf("a process of %s: %v", name, err)
		}
		in.Close()
		cmd.Wait()
	}
}

// The directory is this user's alone and empty, and no leftover is in its way.
func TestAsksIsMadeAnew(t *testing.T) {
	r := newRig(t, "none", func(o *Options) { o.Code = plainCode })
	for _, before := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(r.place.Asks+"/12", nil, 0o644) },
		func() error { return os.Mkdir(r.place.Asks+"/13", 0o700) },
		func() error { return os.Chmod(r.place.Asks, 0o755) },
		func() error { return errors.Join(os.Remove(r.place.Asks), os.WriteFile(r.place.Asks, nil, 0o600)) },
		func() error { return errors.Join(os.Remove(r.place.Asks), os.Symlink(r.dir, r.place.Asks)) },
	} {
		if err := before(); err != nil {
			t.Fatal(err)
		}
		close := newServer(r.options, r.cache, func() {}).openAsks(func(*rung) {})
		left, err := os.ReadDir(r.place.Asks)
		if info, err2 := os.Lstat(r.place.Asks); errors.Join(err, err2) != nil || len(left) > 0 || info.Mode() != fs.ModeDir|0o700 {
			t.Fatalf("the directory: %v, %v, %v", info, left, err)
		}
		close()
	}
	if _, err := os.Lstat(r.dir); err != nil {
		t.Error("what the link led to is gone")
	}
}

// Files that are not named like a process id are passed over.
func TestRings(t *testing.T) {
	r := newRig(t, "none", nil)
	closed, err := openAsks(r.place)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan int, 10)
	var over sync.WaitGroup
	over.Go(func() { rings(closed, func(pid int) { heard <- pid }) })
	defer over.Wait()
	defer closed.Close()
	for _, name := range []string{"12", "-1", "0", "x", "99999999999999999999", strings.Repeat("7", 255), "34"} {
		if err := os.WriteFile(r.place.Asks+"/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{12, 34} {
		if got := <-heard; got != want {
			t.Errorf("heard %d, want %d", got, want)
		}
	}
}

// Who rings again while the answer is there has it go nowhere else: a question is one
// line, and nothing behind it.
func TestRungTwice(t *testing.T) {
	r := ringable(t)
	twice := strings.Replace(asker, "cat <&5", `: >"$1/$$"; while [ -e "$1/$$" ]; do :; done; cat <&5`, 1)
	question := "#keyrack 1 fish 4242 " + r.root
	out, err := exec.Command("bash", "-c", twice, "bash", r.place.Asks, question).CombinedOutput()
	if err != nil || string(out) != question+"\nok\nA=1\n" {
		t.Errorf("%v, %q", err, out)
	}
}

// What can't have new privileges, such as what runs in keyrack sandbox, has no answer.
func TestRingFromASandbox(t *testing.T) {
	r := ringable(t)
	short := strings.Replace(ringer, "-t 10", "-t 0.3", 1)
	out, err := exec.Command("setpriv", "--no-new-privs", "bash", "-c", short, "bash", r.place.Asks, hookAsks(r.root)).CombinedOutput()
	if err != nil || string(out) != "none\n" {
		t.Errorf("%v: %q", err, out)
	}
	// Known from before, as the same program under the same process id.
	cmd := exec.Command("bash", "-c", ringer+"\n"+ringer+`
exec setpriv --no-new-privs bash -c "$SHORT" "$0" "$@"`, "bash", r.place.Asks, hookAsks(r.root))
	cmd.Env = append(os.Environ(), "SHORT="+short)
	out, err = cmd.CombinedOutput()
	if given := "00000007 ok\nA=1\n\n"; err != nil || string(out) != given+given+"none\n" {
		t.Errorf("%v: %q", err, out)
	}
}

// A panic ends one request of one that rang, and the line about it holds no value.
func TestPanicOfRinger(t *testing.T) {
	r := newRig(t, "none", func(o *Options) {
		o.Code = func(shell string, g *wire.Grant, room func(int) ([]byte, error)) ([]byte, error) {
			if len(g.Vars) > 0 {
				panic(string(g.Vars[0].Value))
			}
			return plainCode(shell, g, room)
		}
	})
	r.overSocket()
	r.worksite("[secrets]\nA = \"\"\n")
	r.set("A", "1of-the-ringer")
	r.grant()
	cmd := exec.Command("bash", "-c", strings.Replace(ringer, "-t 10", "-t 0.1", 1), "bash", r.place.Asks, hookAsks(r.root))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "none") {
		t.Errorf("%v: %s", err, out)
	}
	await(t, "the line", func() bool { return strings.Contains(r.logged(), "a request failed at keyrack/daemon") })
	if strings.Contains(r.logged(), "of-the-ringer") {
		t.Error("the line holds the value")
	}
	if got := ring(t, r.place, hookAsks(r.dir+"/c")); got != "00000008 invalid" {
		t.Errorf("the next one: %q", got)
	}
}
