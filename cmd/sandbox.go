package cmd

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"keyrack/daemon/harden"
	"keyrack/daemon/wire"
	"keyrack/hook"
	"keyrack/shells"
)

// stores are where programs keep secrets below the home directory, keyrack among them
// where a variable has it elsewhere for the moment.
var stores = []string{
	".local/share/keyrack", ".local/state/keyrack", ".config/keyrack",
	".ssh", ".gnupg", ".password-store", ".netrc", ".git-credentials", ".config/git/credentials", ".config/gh", ".config/glab-cli",
	".aws", ".azure", ".config/gcloud", ".kube", ".docker", ".config/containers", ".npmrc", ".yarnrc.yml", ".config/pnpm", ".pypirc",
	".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml", ".gradle/gradle.properties", ".terraform.d", ".terraformrc",
	".vault-token", ".config/op", ".doppler", ".infisical", ".config/infisical", ".config/sops", ".config/age", ".config/gopass", ".local/share/gopass", ".pgpass", ".my.cnf",
	".local/share/keyrings", ".local/share/kwalletd", ".mozilla", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware",
	".bash_history", ".zsh_history", ".local/share/fish",
}

// agents are the variables that lead to what a sandbox keeps out.
var agents = []string{"SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "GIT_ASKPASS", "SUDO_ASKPASS", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS", "TMUX", "STY"}

func sandboxCommand() *cobra.Command {
	var box sandbox
	c := &cobra.Command{
		Use:   "sandbox [--] COMMAND [ARG...]",
		Short: "run a command that is not trusted, away from secrets",
		Long: `Runs a command that you do not trust, such as an agent or npm ci, and all that it
starts, so that it can neither ask keyrack's daemon nor read the environment and memory
of what runs outside (Linux 6.2 or later; elsewhere it is refused).

It has no secret that the shell exports for the moment, but those that --env names. It may change
the working directory, the temporary one and what --write names, and read everything but keyrack's
files and the usual stores of credentials in your home directory; --read opens one of these.
It can connect to no UNIX socket: no ssh-agent, OS keyring, docker, tmux. It can use the network.

The command takes the place of keyrack: it has its process id, its terminal and its
signals, and its exit code is the command's own.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "sandbox takes COMMAND")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return box.run(args) },
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringArrayVar(&box.write, "write", nil, "let it change this directory or file as well")
	c.Flags().StringArrayVar(&box.read, "read", nil, "let it read this store of credentials")
	c.Flags().StringArrayVar(&box.env, "env", nil, "leave it this exported secret")
	return c
}

// sandbox is what a person opens to a command.
type sandbox struct{ write, read, env []string }

func (s sandbox) run(argv []string) error {
	c, err := s.confinement()
	if err != nil {
		return err
	}
	temp, err := writableTemp(&c)
	if err != nil {
		return err
	}
	environ := s.environ(temp)
	if err := harden.Confine(c); err != nil {
		return fmt.Errorf("the command was not run: %w", err)
	}
	return replace(argv, environ)
}

// confinement is what the command may reach, but for a temporary directory.
func (s sandbox) confinement() (c harden.Confinement, err error) {
	place, err := wire.FindPlace()
	if err != nil {
		return c, err
	}
	data, err := dataDir()
	config, err2 := configFile()
	state, err3 := stateDir()
	dir, err4 := os.Getwd()
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return c, err
	}
	c.Closed = []string{place.Dir, data, filepath.Dir(config), state}
	homes, err := homeDirs()
	if err != nil {
		return c, err
	}
	for _, home := range homes {
		for _, store := range stores {
			c.Hidden = append(c.Hidden, filepath.Join(home, store))
		}
	}
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		c.Hidden = append(c.Hidden, runtime)
	}
	c.Hidden = append(c.Hidden, "/run/secrets", "/run/credentials")
	if err := c.Refuses(dir); err != nil {
		return c, &hinted{err, "cd PROJECT"}
	}
	if c.Write, err = existing(s.write); err != nil {
		return c, err
	}
	c.Write = append(c.Write, dir)
	c.Read, err = existing(s.read)
	return c, err
}

// homeDirs are the home directory that HOME names, and that of the user's account.
func homeDirs() ([]string, error) {
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return nil, errors.New("HOME is not set to an absolute path: keyrack would not know where credentials are")
	}
	homes := []string{home}
	if account, err := user.Current(); err == nil && filepath.IsAbs(account.HomeDir) && account.HomeDir != "/" {
		homes = append(homes, account.HomeDir)
	}
	return homes, nil
}

// existing are paths, made absolute: one that is mistyped is an error.
func existing(paths []string) (all []string, err error) {
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, path)
	}
	return all, nil
}

// writableTemp lets the command write to a directory for temporary files and returns
// it: the usual one, or where that holds what is hidden, one inside it.
func writableTemp(c *harden.Confinement) (string, error) {
	temp := os.TempDir()
	if c.Refuses(temp) != nil {
		temp = filepath.Join(temp, "keyrack-sandbox-"+strconv.Itoa(os.Geteuid()))
		if err := os.Mkdir(temp, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("a temporary directory: %w", err)
		}
		if err := (wire.Place{Dir: temp}).Check(); err != nil {
			return "", err
		}
	}
	c.Write = append(c.Write, temp)
	if usual := "/tmp"; usual != temp && c.Refuses(usual) == nil {
		c.Write = append(c.Write, usual)
	}
	return temp, nil
}

// environ is the environment of the command: without secrets, but for those that it
// is to have, and without what leads to agents.
func (s sandbox) environ(temp string) []string {
	vars := []shells.Var{{Name: "TMPDIR", Value: []byte(temp)}, {Name: "KEYRACK_SANDBOX", Value: []byte("1")}}
	for _, name := range s.env {
		if value, ok := os.LookupEnv(name); ok {
			vars = append(vars, shells.Var{Name: name, Value: []byte(value)})
		}
	}
	for _, name := range agents {
		if !slices.Contains(s.env, name) {
			os.Unsetenv(name)
		}
	}
	return hook.Environ(os.Environ(), vars)
}
