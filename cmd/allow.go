package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"mvdan.cc/sh/v3/syntax"

	"keyrack/daemon"
	"keyrack/daemon/audit"
	"keyrack/daemon/source"
	"keyrack/worksite"
)

func allowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "allow [DIR]",
		Short: "approve the worksite here, as its file is now",
		Long: `Shows what the .keyrack.toml of the worksite in DIR, or in the working directory,
asks for, or what it asks for since the last approval, and approves it. The
approval is bound to the directory and to the exact bytes of the file: any change
withdraws it. Of a command in from = { exec = [...] } it is also bound to the bytes of
the program, where a path names it, and of each argument that is a file.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			root, err := findRoot(first(args))
			if err != nil {
				return err
			}
			site, err := usable(root)
			if err != nil {
				return err
			}
			if err := approve(site); err != nil {
				return err
			}
			logSelf(audit.Allow, site, root)
			return touch(c.Context())
		},
	}
}

// first is the argument that may be there.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// usable reads the worksite at root and refuses what no approval could make work.
func usable(root string) (*worksite.Site, error) {
	site, err := worksite.Read(root)
	if err != nil {
		return nil, err
	}
	if err := site.Unbuilt(); err != nil {
		return nil, err
	}
	config, err := configFile()
	if err != nil {
		return nil, err
	}
	limit, err := daemon.MaxTTL(config)
	if err != nil {
		return nil, err
	}
	return site, site.CheckTTL(limit)
}

// approve shows what site asks for and then approves it.
func approve(site *worksite.Site) error {
	store, err := approvals()
	if err != nil {
		return err
	}
	last := store.Last(site)
	programs, err := site.Programs()
	if err != nil {
		return err
	}
	lines := worksite.Diff(last, site)
	for _, word := range worksite.ChangedPrograms(last, site, store.LastPrograms(site), programs) {
		lines = append(lines, "~ "+worksite.Visible(word)+" has changed")
	}
	switch {
	case len(lines) > 0 && last == nil:
		say("%s asks for:", site.Name)
	case len(lines) > 0:
		say("%s asks for something else now:", site.Name)
	case last == nil:
		say("%s asks for nothing", site.Name)
	default:
		say("%s: nothing that it asks for has changed", site.Name)
	}
	for _, line := range lines {
		fmt.Fprintln(os.Stderr, line)
	}
	if len(lines) > 0 {
		if err := showCommands(site); err != nil {
			return err
		}
	}
	if last == nil || last.Name != site.Name {
		pointOut(store.Others(site), site.Name)
	}
	if err := store.AllowWith(site, programs); err != nil {
		return fmt.Errorf("keeping the approval: %w", err)
	}
	say("allowed")
	return nil
}

// showCommands shows what is run, once the worksite is approved, to get its values.
func showCommands(site *worksite.Site) error {
	config, err := configFile()
	if err != nil {
		return err
	}
	identity, err := daemon.AgeIdentity(config)
	if err != nil {
		return err
	}
	place := source.Place{Dir: site.Root, Home: os.Getenv("HOME"), Identity: identity}
	var commands []string
	for _, sources := range inTurn(site) {
		for _, argv := range source.Commands(sources, place) {
			commands = append(commands, "  "+commandLine(argv))
		}
	}
	if len(commands) > 0 {
		say("to get them it runs, here:")
	}
	for i, command := range commands {
		if slices.Index(commands, command) == i {
			fmt.Fprintln(os.Stderr, command)
		}
	}
	return nil
}

// inTurn are the first sources of all secrets, which are asked together, then the
// second ones, and so on.
func inTurn(site *worksite.Site) (turns [][]worksite.Source) {
	for _, secret := range site.Secrets {
		for i, from := range secret.From {
			s, err := worksite.ParseSource(from)
			if err != nil || from == "" {
				continue
			}
			for len(turns) <= i {
				turns = append(turns, nil)
			}
			turns[i] = append(turns[i], s)
		}
	}
	return turns
}

// commandLine is argv as it could be typed, with nothing that acts on a terminal.
func commandLine(argv []string) string {
	var words []string
	for _, word := range argv {
		quoted, err := syntax.Quote(word, syntax.LangBash)
		if err != nil {
			quoted = worksite.Visible(word)
		}
		words = append(words, quoted)
	}
	return strings.Join(words, " ")
}

// maxPointedOut bounds the list of directories of one name.
const maxPointedOut = 5

// pointOut tells which other directories have the name that is about to be
// approved. With it they share what the rack holds.
func pointOut(others []string, name string) {
	for i, dir := range others {
		if i == maxPointedOut {
			say("and so are %d more directories", len(others)-i)
			break
		}
		say("%s is also %s: both get the same secrets", name, worksite.Visible(filepath.Clean(dir)))
	}
}
