package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

func helperInstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install DIR [NAME...]",
		Short: "make links by the names under which tools look for helpers",
		Long: `Makes symbolic links to this program in DIR, which should be in PATH, by the names
under which tools look for their helpers: all but keyring, which may be another program
already, or those named. keyrack helper uninstall DIR removes them.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "install takes DIR")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			names := args[1:]
			for _, link := range helperLinks {
				if len(args) == 1 && link.name != "keyring" {
					names = append(names, link.name)
				}
			}
			links, err := linksIn(args[0], names)
			if err != nil {
				return err
			}
			for _, l := range links {
				if l.state == otherFile {
					return fmt.Errorf("%s is something else: nothing was made", l.path)
				}
			}
			for _, l := range links {
				if l.state == noFile {
					if err := os.Symlink(self(), l.path); err != nil {
						return err
					}
				}
				say("%s is there", l.path)
			}
			if dir := filepath.Dir(links[0].path); !slices.Contains(filepath.SplitList(os.Getenv("PATH")), dir) {
				say("tools will not find them: %s is not in PATH", dir)
			}
			return nil
		},
	}
}

func helperUninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall DIR",
		Short: "remove what helper install made",
		Long:  `Removes from DIR the links that keyrack helper install made there, and nothing else.`,
		Args:  exactly("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			names, err := filepath.Glob(filepath.Join(args[0], npmLink+"?*"))
			if err != nil {
				return err
			}
			for i, path := range names {
				names[i] = filepath.Base(path)
			}
			for _, link := range helperLinks {
				names = append(names, link.name)
			}
			links, err := linksIn(args[0], names)
			if err != nil {
				return err
			}
			for _, l := range links {
				switch l.state {
				case ownLink:
					if err := os.Remove(l.path); err != nil {
						return err
					}
					say("removed %s", l.path)
				case otherFile:
					say("left %s, which is something else", l.path)
				}
			}
			return nil
		},
	}
}

// link is the place of a helper's name in a directory.
type link struct {
	path  string
	state linkState
}

type linkState int

const (
	noFile linkState = iota
	ownLink
	otherFile
)

func linksIn(dir string, names []string) ([]link, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	var links []link
	for _, name := range names {
		if name != filepath.Base(name) || helperOf(name) == nil {
			return nil, fmt.Errorf("%q is no name of a helper", name)
		}
		l := link{path: filepath.Join(dir, name), state: otherFile}
		target, err := os.Readlink(l.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			l.state = noFile
		case err == nil && target == self():
			l.state = ownLink
		}
		links = append(links, l)
	}
	return links, nil
}
