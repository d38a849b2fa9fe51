package cmd

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"keyrack/daemon"
	"keyrack/hook"
	"keyrack/shells"
	"keyrack/worksite"
)

// startFiles are the files that a shell reads when it starts, the one in which people
// write the hook's line first, and that line.
var startFiles = []struct {
	shell  shells.Shell
	own    []string // below ownDir
	system []string
	line   string
}{
	{shells.Bash, []string{".bashrc", ".bash_profile", ".bash_login", ".profile"}, []string{"/etc/bash.bashrc", "/etc/bashrc", "/etc/profile"}, `eval "$(keyrack hook bash)"`},
	{shells.Zsh, []string{".zshrc", ".zshenv", ".zprofile", ".zlogin"}, []string{"/etc/zsh/zshrc", "/etc/zshrc"}, `eval "$(keyrack hook zsh)"`},
	{shells.Fish, []string{"config.fish", "conf.d/*.fish"}, []string{"/etc/fish/config.fish", "/etc/fish/conf.d/*.fish"}, `keyrack hook fish | source`},
}

// ownDir is where a shell looks for its person's start-up files.
func ownDir(shell shells.Shell) string {
	switch config := os.Getenv("XDG_CONFIG_HOME"); {
	case shell == shells.Zsh && os.Getenv("ZDOTDIR") != "":
		return os.Getenv("ZDOTDIR")
	case shell == shells.Fish && filepath.IsAbs(config):
		return filepath.Join(config, "fish")
	case shell == shells.Fish:
		return filepath.Join(os.Getenv("HOME"), ".config/fish")
	}
	return os.Getenv("HOME")
}

// checkHook looks for the hook's line in the start-up files of the person's shell,
// and for what the hook did to this command, which is all that shows of a shell from
// outside.
func (d *checkup) checkHook() {
	const part = "hook"
	live := os.Getenv(hook.Marker) != ""
	shell, err := shells.Parse(os.Getenv("SHELL"))
	if err != nil && live {
		d.ok(part, "this shell has it; SHELL names another, whose files were not looked at")
		return
	}
	if err != nil {
		d.warn(part, "keyrack exec -- COMMAND", "SHELL names no shell that has one (bash, zsh, fish); without it a command is given its secrets by keyrack exec")
		return
	}
	files, line := startFilesOf(shell)
	found, other := findHook(files, shell)
	mend := "echo " + shells.Bash.QuoteString(line) + " >>" + shellQuote(files[0])
	if dir := filepath.Dir(files[0]); !isDir(dir) {
		mend = "mkdir -p " + shellWord(dir) + " && " + mend
	}
	switch {
	case found == "" && live:
		d.ok(part, "this shell has it, though not from %s or another file where it is looked for", worksite.Visible(files[0]))
	case found == "" && other != "":
		d.broken(part, mend, "%s has that of another shell, and SHELL is %s", worksite.Visible(other), shell)
	case found == "":
		d.broken(part, mend, "not in %s, nor where %s looks besides: commands typed there are given nothing", worksite.Visible(files[0]), shell)
	case live:
		d.ok(part, "for %s in %s, and this shell has it", shell, worksite.Visible(found))
	case d.wouldShow():
		d.warn(part, "exec "+string(shell), "for %s in %s, but this command was given nothing by it: its shell is older than that line, or no prompt started it", shell, worksite.Visible(found))
	default:
		d.ok(part, "for %s in %s; whether this shell has it shows only in a worksite that gives something", shell, worksite.Visible(found))
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// wouldShow says whether the hook, where this command's shell has it, would have
// given this command something.
func (d *checkup) wouldShow() bool {
	if d.status == nil || d.status.State != daemon.StateOK {
		return false
	}
	site, _ := worksite.Read(d.root)
	return slices.ContainsFunc(d.status.Secrets, func(s daemon.SecretStatus) bool {
		asked, ok := askedFor(site, s.Name)
		return ok && asked.For == nil && s.Confirm == worksite.ConfirmNever && (s.Held || s.State == daemon.StateAvailable)
	})
}

func startFilesOf(shell shells.Shell) (files []string, line string) {
	for _, row := range startFiles {
		if row.shell != shell {
			continue
		}
		line = row.line
		for _, name := range row.own {
			files = append(files, expand(filepath.Join(ownDir(shell), name))...)
		}
		for _, name := range row.system {
			files = append(files, expand(name)...)
		}
	}
	return files, line
}

// expand is the files that a pattern stands for; a path is itself.
func expand(pattern string) []string {
	if !strings.Contains(filepath.Base(pattern), "*") {
		return []string{pattern}
	}
	names, _ := filepath.Glob(pattern) // a directory's odd name finds nothing
	return names
}

// findHook finds the line of shell's hook, as FILE:LINE, and else one of another
// shell's.
func findHook(files []string, shell shells.Shell) (found, other string) {
	for _, file := range files {
		for i, line := range strings.Split(startText(file), "\n") {
			of, ok := hookIn(line)
			at := fmt.Sprintf("%s:%d", file, i+1)
			switch {
			case !ok:
			case of == "" || of == string(shell):
				return at, ""
			case other == "":
				other = at
			}
		}
	}
	return "", other
}

// maxStart bounds a start-up file, in bytes.
const maxStart = 1 << 20

// startText is the beginning of a start-up file, "" where it can't be read: then the
// shell can't either.
func startText(path string) string {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(file, maxStart))
	return string(text)
}

var (
	hookCall = regexp.MustCompile(`\bkeyrack["']?[ \t]+hook\b(.*)`)
	hookWord = regexp.MustCompile(`[\w-]+`)
	comment  = regexp.MustCompile(`(^|[ \t;])#`)
)

// hookIn says whether a line of a start-up file calls `keyrack hook`, and for which
// shell, "" where it leaves that to a variable.
func hookIn(line string) (shell string, ok bool) {
	at := hookCall.FindStringSubmatchIndex(line)
	if at == nil || comment.MatchString(line[:at[0]]) {
		return "", false
	}
	words := hookWord.FindAllString(line[at[2]:at[3]], -1)
	if slices.Contains(words, "--off") {
		return "", false
	}
	for _, word := range words {
		if s, err := shells.Parse(word); err == nil {
			return string(s), true
		}
	}
	return "", true
}

// checkProgram looks for keyrack where the hook's line looks for it.
func (d *checkup) checkProgram() {
	const part = "program"
	own := self()
	mend := "export PATH=" + shellQuote(filepath.Dir(own)) + ":$PATH"
	path, err := exec.LookPath("keyrack")
	if err != nil && !errors.Is(err, exec.ErrDot) {
		d.warn(part, mend, "%s is not in PATH, where start-up files look for it", worksite.Visible(own))
		return
	}
	a, errA := os.Stat(path)
	b, errB := os.Stat(own)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		d.warn(part, mend, "PATH finds another keyrack first: %s; this is %s", worksite.Visible(path), worksite.Visible(own))
		return
	}
	d.ok(part, "%s at %s", version(), worksite.Visible(own))
}

// checkClient looks at the small program that serves shells which can't ask themselves.
func (d *checkup) checkClient() {
	const part, mend = "keyrack-hook", "go install ./cmd/..."
	small := hookProgram()
	if small == self() {
		d.warn(part, mend, "not beside keyrack: shells are slower without it; in keyrack's source:")
		return
	}
	theirs, err := buildinfo.ReadFile(small)
	ours, ok := debug.ReadBuildInfo()
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.broken(part, "", "%s can't be read", worksite.Visible(small))
	case err != nil || !ok:
		d.warn(part, "", "%s does not tell its version", worksite.Visible(small))
	case built(theirs) != built(ours):
		d.broken(part, mend, "%s is %s and keyrack is %s; in keyrack's source:", worksite.Visible(small), built(theirs), built(ours))
	default:
		d.ok(part, "beside keyrack and of its version")
	}
}

var releaseFlag = regexp.MustCompile(`keyrack/cmd\.release=([^\s'"]+)`)

// built is the version of a build of this module, as what it says of itself tells.
func built(info *debug.BuildInfo) string {
	given := ""
	for _, s := range info.Settings {
		if m := releaseFlag.FindStringSubmatch(s.Value); s.Key == "-ldflags" && m != nil {
			given = m[1]
		}
	}
	return versionOf(info, given)
}
