package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/wire"
	"keyrack/shells"
)

// supervisor is an init system that can start the daemon: the files that it reads,
// and what has it take them, or leave them.
type supervisor struct {
	units   []unit
	enable  [][]string // commands, in order
	disable [][]string
	told    string // what it does from now on
	runs    bool   // here and now
}

func daemonInstallCommand() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "install",
		Short: "have systemd or launchd start the daemon",
		Long: `Writes the files by which the init system of this login starts the daemon, and has
it take them. systemd listens in the daemon's place and starts it when something
needs it; there is then one daemon for all of your login sessions. launchd starts it
when you log in, and again where it crashed.

keyrack daemon uninstall removes what this wrote.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := findSupervisor(c.Context())
			if err != nil {
				return err
			}
			if show {
				return s.print()
			}
			return s.install(c.Context())
		},
	}
	c.Flags().BoolVar(&show, "print", false, "print the files, and change nothing")
	return c
}

func daemonUninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "take back what daemon install did",
		Long: `Stops the daemon that the init system started, and removes the files that keyrack
daemon install wrote. A file that was changed by hand since is left, and then nothing
is removed.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := findSupervisor(c.Context())
			if err != nil {
				return err
			}
			return s.uninstall(c.Context())
		},
	}
}

func findSupervisor(ctx context.Context) (*supervisor, error) {
	program := self()
	if !filepath.IsAbs(program) {
		return nil, errors.New("the path of this program is unknown")
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return nil, errors.New("HOME is not set to an absolute path: keyrack would not know where its files are")
	}
	if runtime.GOOS == "darwin" {
		return launchd(home, program)
	}
	return systemd(ctx, home, program)
}

// systemd looks where the person's systemd looks, which was started before their
// shell was, and need not have its environment.
func systemd(ctx context.Context, home, program string) (*supervisor, error) {
	config := filepath.Join(home, ".config")
	environ, err := run(ctx, "systemctl", "--user", "show-environment")
	runs := err == nil
	for line := range strings.Lines(environ) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case name == "XDG_CONFIG_HOME" && filepath.IsAbs(value):
			config = value
		case name == "XDG_RUNTIME_DIR" && value != os.Getenv(name):
			return nil, fmt.Errorf("systemd listens in %s, where keyrack looks in %q: XDG_RUNTIME_DIR differs", value, os.Getenv(name))
		}
	}
	units, err := systemdUnits(filepath.Join(config, "systemd", "user"), program, unitEnvironment())
	return &supervisor{
		runs:    runs,
		units:   units,
		enable:  commandLines("daemon-reload", "enable keyrack.socket", "stop keyrack.socket keyrack.service", "start keyrack.socket"),
		disable: commandLines("disable --now keyrack.socket", "stop keyrack.service"),
		told:    "systemd starts the daemon when something needs it, one for all of your login sessions",
	}, err
}

func commandLines(lines ...string) (commands [][]string) {
	for _, line := range lines {
		commands = append(commands, append([]string{"systemctl", "--user"}, strings.Fields(line)...))
	}
	return commands
}

func launchd(home, program string) (*supervisor, error) {
	units, err := launchdUnits(filepath.Join(home, "Library", "LaunchAgents"), program, unitEnvironment())
	if err != nil {
		return nil, err
	}
	domain := "gui/" + strconv.Itoa(os.Geteuid())
	_, err = exec.LookPath("launchctl")
	return &supervisor{
		runs:    err == nil,
		units:   units,
		enable:  [][]string{{"launchctl", "bootstrap", domain, units[0].path}},
		disable: [][]string{{"launchctl", "bootout", domain + "/keyrack"}},
		told:    "launchd starts the daemon when you log in",
	}, nil
}

func (s *supervisor) print() error {
	var text strings.Builder
	for _, u := range s.units {
		text.WriteString(u.text + "\n")
	}
	return output(strings.TrimSuffix(text.String(), "\n"))
}

// install writes the files and has the init system take them. What runs already is
// stopped first: its socket would be in the way, and what it holds out of reach.
func (s *supervisor) install(ctx context.Context) error {
	wrote, err := writeUnits(s.units)
	if err != nil {
		return err
	}
	if !s.runs {
		say("the init system that reads them does not run here; where it does:")
		return s.advise(s.enable)
	}
	if !wrote && s.enabled(ctx) {
		say("installed already: %s", s.told)
		return nil
	}
	if err := stopAll(ctx); err != nil {
		return err
	}
	if err := runAll(ctx, s.enable); err != nil {
		return err
	}
	say("%s", s.told)
	if runtime.GOOS != "darwin" {
		say("shells that run already ask with more effort until they are started anew")
	}
	return nil
}

func (s *supervisor) uninstall(ctx context.Context) error {
	found, err := ours(s.units)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		say("nothing is installed")
		return nil
	}
	if s.runs {
		if err := runAll(ctx, s.disable); err != nil && s.enabled(ctx) { // a part of it may be gone already
			return err
		}
	}
	s.unlink()
	if err := removeUnits(found); err != nil {
		return err
	}
	if s.runs && runtime.GOOS != "darwin" {
		_, err = run(ctx, "systemctl", "--user", "daemon-reload")
	}
	return err
}

// unlink removes the link by which systemd starts the socket at login, where no
// systemctl did.
func (s *supervisor) unlink() {
	link := filepath.Join(filepath.Dir(s.units[0].path), "sockets.target.wants", filepath.Base(s.units[0].path))
	if target, err := os.Readlink(link); err == nil && (target == s.units[0].path || target == "../"+filepath.Base(target)) {
		os.Remove(link)
		os.Remove(filepath.Dir(link)) // if that was all
	}
}

// stopAll stops the daemon of this login session and the one of all.
func stopAll(ctx context.Context) error {
	own, err := wire.FindPlace()
	if err != nil {
		return err
	}
	shared, err := wire.SharedPlace()
	if err != nil {
		return err
	}
	for _, place := range []wire.Place{own, shared} {
		if err := daemon.Stop(ctx, place); err != nil {
			return err
		}
	}
	return nil
}

// supervisorTime bounds each command.
const supervisorTime = 30 * time.Second

// run runs one command of the init system's and returns what it prints.
func run(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, supervisorTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err == nil {
		return string(out), nil
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	if text == "" {
		text = err.Error()
	}
	return "", fmt.Errorf("%s: %s", strings.Join(command, " "), text)
}

func runAll(ctx context.Context, commands [][]string) error {
	for _, command := range commands {
		if _, err := run(ctx, command...); err != nil {
			return err
		}
	}
	return nil
}

// enabled says whether the init system has taken the files.
func (s *supervisor) enabled(ctx context.Context) bool {
	if runtime.GOOS == "darwin" {
		_, err := run(ctx, "launchctl", "print", s.disable[0][2])
		return err == nil
	}
	return runAll(ctx, commandLines("--quiet is-enabled keyrack.socket", "--quiet is-active keyrack.socket")) == nil
}

// advise prints commands for a person to type.
func (s *supervisor) advise(commands [][]string) error {
	var lines []string
	for _, command := range commands {
		words := slices.Clone(command)
		for i, word := range words {
			if strings.ContainsFunc(word, func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+@", r)
			}) {
				words[i] = shells.Bash.QuoteString(word)
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	hint(strings.Join(lines, " && "))
	return nil
}
