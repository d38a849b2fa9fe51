package cmd

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/wire"
	"keyrack/hook"
	"keyrack/shells"
)

func daemonCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "daemon",
		Short: "run, stop or install the session's daemon, which starts by itself when it is needed",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(c, "there are daemon run, stop, install and uninstall")
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return usage(c, "run, stop, install or uninstall?") },
	}
	c.AddCommand(daemonRunCommand(), daemonStopCommand(), daemonInstallCommand(), daemonUninstallCommand())
	return c
}

func daemonRunCommand() *cobra.Command {
	var shared bool
	c := &cobra.Command{
		Use:   "run",
		Short: "serve this login session in the foreground, until SIGTERM",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := daemonOptions()
			if err != nil {
				return err
			}
			if shared {
				if o.Place, err = wire.SharedPlace(); err != nil {
					return err
				}
			}
			daemon.Version = version()
			return daemon.Serve(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&shared, "shared", false, "serve all login sessions of this user, which find it before their own")
	return c
}

func daemonOptions() (o daemon.Options, err error) {
	if o.Place, err = wire.FindPlace(); err != nil {
		return o, err
	}
	if o.DataDir, err = dataDir(); err != nil {
		return o, err
	}
	if o.ConfigFile, err = configFile(); err != nil {
		return o, err
	}
	if o.AuditDir, err = stateDir(); err != nil {
		return o, err
	}
	o.Program, o.Code = self(), shellCode
	o.Log = func(line string) { say("%s", line) }
	return o, nil
}

// shellCode is what a shell runs that rang: the change that a grant makes.
func shellCode(name string, g *wire.Grant, room func(size int) ([]byte, error)) ([]byte, error) {
	shell, err := shells.Parse(name)
	if err != nil {
		return nil, err
	}
	change := hook.Change(g, nil)
	code, err := room(shell.Size(change))
	if err != nil {
		return nil, err
	}
	return shell.Append(code, change), nil
}

func daemonStopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "end the daemon of this login session, and what it holds; no error where none runs",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			place, err := wire.FindPlace()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
			defer cancel()
			return daemon.Stop(ctx, place)
		},
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  exactly(),
		RunE:  func(*cobra.Command, []string) error { return output(version() + "\n") },
	}
}

// release is the version that a build gives itself, with
// -ldflags '-X keyrack/cmd.release=v1.2.3'.
var release string

// version is what the build gave itself, else the module's version as the Go tool
// stamped it, with the commit where it was built from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionOf(info, release)
}

// versionOf is version for a build that gave itself given, or "".
func versionOf(info *debug.BuildInfo, given string) string {
	if given == "" {
		given = info.Main.Version
	}
	if given == "" {
		given = "(devel)"
	}
	return "keyrack " + given + " " + info.GoVersion
}
