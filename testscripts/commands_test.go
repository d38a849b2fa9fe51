package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"shell": cmdShell, "terminal": cmdTerminal, "use": cmdUse, "type": cmdType, "submit": cmdSubmit,
	"send": cmdSend, "expect": cmdExpect, "prompt": cmdPrompt, "rc": cmdRC, "close": cmdClose,
	"rack": cmdRack, "site": cmdSite, "secret": cmdSecret, "until": cmdUntil, "daemon": cmdDaemon,
	"clean": cmdClean, "traced": cmdTraced, "bytes": cmdBytes, "keyring": cmdKeyring, "kube": cmdKube, "store": cmdStore, "bare": cmdBare, "processes": cmdProcesses,
	"impostor": cmdImpostor, "signal": cmdSignal, "readme": cmdReadme, "serve": cmdServe, "docker": cmdDocker, "silent": cmdSilent, "named": cmdNamed, "table": cmdTable,
}

func itoa(n int) string { return strconv.Itoa(n) }

// quietly runs keyrack as a person would, in the script's directory or in dir,
// and stops the script where it fails.
func (w *world) quietly(ts *testscript.TestScript, dir, stdin string, args ...string) {
	back := ts.MkAbs(".")
	ts.Check(ts.Chdir(dir))
	file := filepath.Join(w.work, ".stdin")
	ts.Check(os.WriteFile(file, []byte(stdin), 0o600))
	ts.Setenv("KT_STDIN", file)
	err := ts.Exec("sh", append([]string{"-c", `exec keyrack "$@" <"$KT_STDIN"`, "sh"}, args...)...)
	ts.Check(os.Remove(file))
	ts.Check(ts.Chdir(back))
	if err != nil {
		ts.Fatalf("keyrack %s: %v\n%s", strings.Join(args, " "), err, mask(ts.ReadFile("stderr")))
	}
}

// cmdRack makes the rack with lock `none`; site does it where a script has not.
func cmdRack(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if !w.rack {
		w.rack = true
		w.quietly(ts, w.work, "", "rack", "create", "--lock", "none")
	}
}

// cmdSite makes a worksite $WORK/NAME and the variable $NAME that holds its path:
//
//	site [-dir DIR] [-export MODE] [-ttl TTL] [-noallow] NAME SECRET...
//
// A .keyrack.toml that is there already stays. Each SECRET gets a value in the rack.
func cmdSite(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	cmdRack(ts, false, nil)
	dir, ttl, export, allow := "", "", w.mode, true
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-noallow":
			allow = false
			args = args[1:]
			continue
		case len(args) < 2:
			ts.Fatalf("site: %s needs a value", args[0])
		case args[0] == "-dir":
			dir = ts.MkAbs(args[1])
		case args[0] == "-export":
			export = args[1]
		case args[0] == "-ttl":
			ttl = args[1]
		default:
			ts.Fatalf("site: unknown argument %s", args[0])
		}
		args = args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: site [-dir DIR] [-export MODE] [-ttl TTL] [-noallow] NAME SECRET...")
	}
	name, secrets := args[0], args[1:]
	if dir == "" {
		dir = filepath.Join(w.work, name)
	}
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Setenv(name, dir)
	file := filepath.Join(dir, ".keyrack.toml")
	if _, err := os.Stat(file); err != nil {
		ts.Check(os.WriteFile(file, []byte(siteFile(name, export, ttl, secrets)), 0o644))
	}
	for _, secret := range secrets {
		value := newSecret(name, secret)
		ts.Check(w.register(name+"."+secret, []byte(value)))
		w.quietly(ts, dir, value, "set", secret)
	}
	if allow {
		w.quietly(ts, dir, "", "allow")
	}
}

func siteFile(name, export, ttl string, secrets []string) string {
	var text strings.Builder
	text.WriteString("name = " + strconv.Quote("test/"+strings.ToLower(name)) + "\n")
	if export != "command" {
		text.WriteString("export = " + strconv.Quote(export) + "\n")
	}
	if ttl != "" {
		text.WriteString("ttl = " + strconv.Quote(ttl) + "\n")
	}
	text.WriteString("[secrets]\n")
	for _, secret := range secrets {
		text.WriteString(secret + " = \"\"\n")
	}
	return text.String()
}

// cmdSecret sets a value for the worksite $SITE: a new random one, or the bytes of a file.
//
//	secret SITE NAME [FILE]
func cmdSecret(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: secret SITE NAME [FILE]")
	}
	w := worldOf(ts)
	site, name := args[0], args[1]
	value := newSecret(site, name)
	if len(args) == 3 {
		value = ts.ReadFile(args[2])
	}
	ts.Check(w.register(site+"."+name, []byte(value)))
	w.quietly(ts, ts.Getenv(site), value, "set", name)
}

// cmdUntil runs a command again and again until its output matches, for a bounded time:
//
//	until REGEXP COMMAND ARG...     ! until: until it does not match
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND ARG...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	env := environment(ts)
	var out, errs strings.Builder
	ok := eventually(patience, func() bool {
		out.Reset()
		errs.Reset()
		cmd := exec.Command(worldOf(ts).program(args[1]), args[2:]...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, ts.MkAbs("."), &out, &errs
		_ = cmd.Run()
		return pattern.MatchString(out.String()+errs.String()) != neg
	})
	_, _ = ts.Stdout().Write([]byte(mask(out.String())))
	_, _ = ts.Stderr().Write([]byte(mask(errs.String())))
	if !ok {
		ts.Fatalf("waited %v for %s, %v", patience, args[0], !neg)
	}
}

// cmdDaemon sets $DAEMON to the pid of the running daemon.
func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	var pids []string
	for pid, line := range w.processes() {
		if strings.Contains(line, "daemon run") {
			pids = append(pids, pid)
		}
	}
	switch {
	case neg && len(pids) > 0:
		ts.Fatalf("a daemon is running")
	case !neg && len(pids) != 1:
		ts.Fatalf("%d daemons are running, not 1", len(pids))
	case !neg:
		ts.Setenv("DAEMON", pids[0])
	}
}

// cmdProcesses fails where a process of this script matches: ! processes REGEXP
func cmdProcesses(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] processes REGEXP")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	ok := eventually(patience, func() bool {
		for _, line := range worldOf(ts).processes() {
			if pattern.MatchString(line) {
				return !neg
			}
		}
		return neg
	})
	if !ok {
		ts.Fatalf("processes of this script: %v", worldOf(ts).processes())
	}
}

// cmdClean fails where a file holds a secret value: clean FILE...   ! clean: where it holds none
func cmdClean(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		if found := canary.FindString(ts.ReadFile(file)); (found != "") != neg {
			ts.Fatalf("%s: found %q", file, mask(found))
		}
	}
}

// cmdBytes writes a file: bytes FILE all (each byte from 1 to 255), or bytes FILE TEXT COUNT
func cmdBytes(ts *testscript.TestScript, neg bool, args []string) {
	var content []byte
	switch {
	case len(args) == 2 && args[1] == "all":
		for b := 1; b < 256; b++ {
			content = append(content, byte(b))
		}
	case len(args) == 3:
		text, err := strconv.Unquote(`"` + args[1] + `"`)
		ts.Check(err)
		count, err := strconv.Atoi(args[2])
		ts.Check(err)
		content = []byte(strings.Repeat(text, count))
	default:
		ts.Fatalf("usage: bytes FILE all | bytes FILE TEXT COUNT")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o600))
}

// cmdSilent fails where the last program said anything to standard error but that
// it waits for the daemon, which depends on the machine.
func cmdSilent(ts *testscript.TestScript, neg bool, args []string) {
	if said := strings.ReplaceAll(ts.ReadFile("stderr"), waiting, ""); said != "" {
		ts.Fatalf("standard error is not empty: %s", mask(said))
	}
}

// cmdNamed makes programs, each of which notes in the file KT_SEEN what secrets it has:
//
//	named FILE...
func cmdNamed(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("KT_SEEN", worldOf(ts).work+"/.seen")
	for _, file := range args {
		ts.Check(os.Link(filepath.Join(worldOf(ts).work, "bin", "K"), ts.MkAbs(file)))
	}
}

// cmdTable types each line of a file and compares what programs noted that it started:
//
//	PROGRAM:INITIALS ... | LINE      all of them, in any order
//	< PROGRAM:INITIALS ... | LINE    as said in docs/shells.md, some may have less
func cmdTable(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	seen := ts.Getenv("KT_SEEN")
	rows := 0
	var wrong strings.Builder
	for row := range strings.Lines(ts.ReadFile(args[0])) {
		want, line, ok := strings.Cut(strings.TrimSuffix(row, "\n"), "| ")
		if !ok {
			ts.Fatalf("no row: %s", row)
		}
		rows++
		less := strings.HasPrefix(want, "<")
		ts.Check(os.WriteFile(seen, nil, 0o600))
		shown, err := w.terminal(ts).line(line, w.variant.family)
		if err != nil {
			ts.Fatalf("%s: %v\n%s", line, err, mask(shown))
		}
		got, expected := slices.Sorted(slices.Values(strings.Fields(ts.ReadFile(seen)))), slices.Sorted(slices.Values(strings.Fields(strings.TrimPrefix(want, "<"))))
		if !slices.EqualFunc(got, expected, func(got, want string) bool {
			return got == want || less && narrower(got, want)
		}) {
			fmt.Fprintf(&wrong, "%s\n     got  %s\n     want %s\n%s", line, strings.Join(got, " "), want, mask(shown))
		}
	}
	if wrong.Len() > 0 {
		ts.Fatalf("of %d lines:\n%s", rows, &wrong)
	}
	if found := w.current.leaks(); found != "" {
		ts.Fatalf("a secret value was shown on the terminal: %s", found)
	}
}

// narrower says whether a program noted some of what it may have.
func narrower(got, want string) bool {
	name, initials, _ := strings.Cut(got, ":")
	may, all, _ := strings.Cut(want, ":")
	return name == may && !strings.ContainsFunc(initials, func(r rune) bool { return !strings.ContainsRune(all, r) })
}
