package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	"keyrack/daemon"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// dataDir is where the rack and the approvals lie.
func dataDir() (string, error) {
	return userDir("XDG_DATA_HOME", ".local/share", "Library/Application Support")
}

// stateDir is where the audit log lies.
func stateDir() (string, error) {
	return userDir("XDG_STATE_HOME", ".local/state", "Library/Logs")
}

// configFile is the person's own config.
func configFile() (string, error) {
	dir, err := userDir("XDG_CONFIG_HOME", ".config", "Library/Application Support")
	return filepath.Join(dir, "config.toml"), err
}

// userDir is keyrack's directory below the one that variable names, where it
// names one (the XDG base directory specification ignores relative paths), else
// below the usual place in the home directory.
func userDir(variable, usual, darwin string) (string, error) {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "keyrack"), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("HOME is not set to an absolute path: keyrack would not know where its files are")
	}
	if runtime.GOOS == "darwin" {
		usual = darwin
	}
	return filepath.Join(home, usual, "keyrack"), nil
}

// self is the path of this program: the one by which it was called where that is
// absolute or in PATH, because it outlives an upgrade that the real path may not.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	if helperOf(os.Args[0]) != nil { // a program of that name is a helper, whatever its arguments
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			return real
		}
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil || !filepath.IsAbs(called) {
		return exe
	}
	a, errA := os.Stat(called)
	b, errB := os.Stat(exe)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return exe
	}
	return called
}

// connect finds the session's daemon and starts one where none runs.
func connect(ctx context.Context) (*daemon.Client, error) {
	place, err := wire.FindPlace()
	if err != nil {
		return nil, err
	}
	client, err := daemon.Connect(ctx, place, self())
	if err != nil {
		return nil, err
	}
	client.Slow = sync.OnceFunc(func() { say("waiting for the daemon (Ctrl-C gives up)") })
	return client, nil
}

// touch tells the shells of this session that an approval changed. Where no
// daemon runs, nobody holds anything that could have changed.
func touch(ctx context.Context) error {
	place, err := wire.FindPlace()
	if err != nil {
		return err
	}
	client, err := daemon.Connect(ctx, place, "")
	if err != nil {
		return nil
	}
	return client.Touch(ctx)
}

func rack() (source.Rack, error) {
	dir, err := dataDir()
	return source.Rack{Dir: dir}, err
}

func approvals() (worksite.Store, error) {
	dir, err := dataDir()
	return worksite.Store{Dir: filepath.Join(dir, "approvals")}, err
}

// findRoot is the root of the worksite in which dir lies, "" for the working
// directory.
func findRoot(dir string) (string, error) {
	root, err := lookForRoot(dir)
	if err == nil && root == "" {
		err = &hinted{errors.New("no worksite here: there is no " + worksite.FileName + " in this directory or above it"), "keyrack init"}
	}
	return root, err
}

// lookForRoot is findRoot without the error where there is none.
func lookForRoot(dir string) (string, error) {
	if dir == "" {
		dir = "."
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("the working directory: %w", err)
	}
	if info, err := os.Stat(dir); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return worksite.Find(dir), nil
}

// siteName is the name under which the rack keeps a secret: explicit where the
// person said it, else that of the worksite here.
func siteName(explicit string) (string, error) {
	if explicit != "" {
		return explicit, worksite.CheckName(explicit)
	}
	root, err := findRoot("")
	if err != nil {
		return "", err
	}
	site, err := worksite.Read(root)
	if err != nil {
		return "", err
	}
	return site.Name, nil
}
