package testscripts

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script; a wait ends as soon as its condition
// holds. KEYRACK_PATIENCE=5s is for who waits for a failure.
var patience = func() time.Duration {
	if own, err := time.ParseDuration(os.Getenv("KEYRACK_PATIENCE")); err == nil {
		return own
	}
	return 30 * time.Second
}()

// world is what belongs to one running script.
type world struct {
	variant   variant
	mode      string // "command" or "tree": the export of the sites made by this script
	work      string // $WORK
	runtime   string // $XDG_RUNTIME_DIR, short: socket paths have a limit
	terminals map[string]*terminal
	current   *terminal
	last      string // name of the current terminal
	rack      bool   // the rack exists
	impostor  *impostor
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func (w *world) secrets() string { return filepath.Join(w.work, ".secrets") }

// memory is a tmpfs, as the place of $XDG_RUNTIME_DIR is.
var memory = func() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return "/tmp"
}()

// setup gives a script its own home, places, programs and PATH.
func setup(env *testscript.Env, v variant, mode string) error {
	runtime, err := os.MkdirTemp(memory, "kr")
	if err != nil {
		return err
	}
	w := &world{variant: v, mode: mode, work: env.WorkDir, runtime: runtime, terminals: map[string]*terminal{}}
	env.Values[worldKey{}] = w
	home := filepath.Join(env.WorkDir, "home")
	bin := filepath.Join(env.WorkDir, "bin")
	for _, dir := range []string{home, bin, w.work + "/home/.config/fish", w.work + "/home/.local/share/fish/generated_completions",
		w.work + "/home/.cache/fish/generated_completions", w.work + "/home/.local/state", w.work + "/O"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(w.secrets(), nil, 0o600); err != nil {
		return err
	}
	if err := linkPrograms(bin); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"HOME": home, "PATH": bin + ":" + os.Getenv("PATH"), "XDG_RUNTIME_DIR": runtime,
		"XDG_CONFIG_HOME": home + "/.config", "XDG_DATA_HOME": home + "/.local/share",
		"XDG_STATE_HOME": home + "/.local/state", "XDG_CACHE_HOME": home + "/.cache",
		"O": w.work + "/O", "KT_SECRETS": w.secrets(), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color",
		"SHELL": v.path(), "SHELLS": shellsDir(), "FAMILY": v.family, "USER": "tester", "LOGNAME": "tester",
		"GOCOVERDIR": os.Getenv("GOCOVERDIR"),
	} {
		if value != "" {
			env.Setenv(key, value)
		}
	}
	// Env.Defer may not fail a script, T().Fatal may.
	env.Defer(func() {
		if err := w.finish(env); err != nil {
			env.T().Fatal(err)
		}
	})
	return nil
}

func linkPrograms(bin string) error {
	entries, err := os.ReadDir(binDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		from, err := filepath.EvalSymlinks(filepath.Join(binDir, entry.Name()))
		if err != nil {
			return err
		}
		to := filepath.Join(bin, entry.Name())
		if os.Link(from, to) == nil {
			continue
		}
		program, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, program, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// finish closes the terminals, stops the daemon, and reports what is left of
// the script: a process, a socket, or a value that stood on a terminal.
func (w *world) finish(env *testscript.Env) error {
	defer os.RemoveAll(w.runtime)
	var leaked []string
	for name, term := range w.terminals {
		term.hangUp()
		if found := term.leaks(); found != "" {
			leaked = append(leaked, fmt.Sprintf("terminal %s showed a secret value: %s", name, found))
		}
	}
	if len(w.sockets()) > 0 {
		stop := exec.Command(filepath.Join(w.work, "bin/keyrack"), "daemon", "stop")
		stop.Env = env.Vars
		stop.Dir = w.work
		if out, err := stop.CombinedOutput(); err != nil {
			leaked = append(leaked, fmt.Sprintf("keyrack daemon stop: %v: %s", err, mask(string(out))))
		}
	}
	gone := func() bool { return len(w.sockets()) == 0 && len(w.processes()) == 0 }
	if !eventually(patience/3, gone) {
		for _, socket := range w.sockets() {
			leaked = append(leaked, "socket left behind: "+socket)
		}
		for pid, args := range w.processes() {
			leaked = append(leaked, "process left behind: "+args)
			_ = exec.Command("kill", "-KILL", pid).Run()
		}
	}
	if leaked != nil {
		return fmt.Errorf("%s", strings.Join(leaked, "\n"))
	}
	return nil
}

func (w *world) sockets() []string {
	found, _ := filepath.Glob(filepath.Join(w.runtime, "keyrack", "*.sock"))
	return found
}

// processes maps pid to command line for what runs from, or on, this script's directories.
func (w *world) processes() map[string]string {
	out, _ := exec.Command("ps", "-A", "-o", "pid=,stat=,args=").Output()
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[1], "Z") {
			continue
		}
		args := strings.Join(fields[2:], " ")
		if strings.Contains(args, w.work+"/") || strings.Contains(args, w.runtime) {
			found[fields[0]] = args
		}
	}
	return found
}

// eventually asks cond until it holds or the time is over.
func eventually(within time.Duration, cond func() bool) bool {
	deadline := time.After(within)
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			return cond()
		case <-tick.C:
		}
	}
	return true
}

// environment is the script's as its children see it.
func environment(ts *testscript.TestScript) []string {
	file := filepath.Join(worldOf(ts).work, ".env")
	ts.Setenv("KT_ENV", file)
	ts.Check(ts.Exec("sh", "-c", `exec env -0 >"$KT_ENV"`))
	text, err := os.ReadFile(file)
	ts.Check(err)
	var vars []string
	for _, pair := range bytes.Split(bytes.TrimSuffix(text, []byte{0}), []byte{0}) {
		name, _, _ := strings.Cut(string(pair), "=")
		switch name {
		case "_", "SHLVL", "OLDPWD", "KT_ENV":
		default:
			vars = append(vars, string(pair))
		}
	}
	return vars
}
