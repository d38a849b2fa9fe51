package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"keyrack/cmd/scan"
	"keyrack/daemon"
	"keyrack/daemon/arena"
	"keyrack/daemon/harden"
	"keyrack/daemon/wire"
	"keyrack/hook"
	"keyrack/worksite"
)

func scanCommand() *cobra.Command {
	var s scanning
	c := &cobra.Command{
		Use:   "scan [DIR]",
		Short: "look for the worksite's values in files and in git",
		Long: `Looks for the values of the worksite in which the working directory, or DIR, lies: as they
are, in base64, hex, URL-encoded and escaped. It searches all files of git's working tree, or
where there is none, of the worksite, ignored ones too, or those in DIR; and what
stands otherwise in git's index. It writes where they stand and which, never a value.

--history searches all objects that git has as well; --staged what the next commit would add, and
nothing else. --install-hook makes that a pre-commit hook of the repository.

Values under 8 bytes are not looked for. Nor is what git or another program has compressed or
encrypted, or base64 with line breaks. Links are not followed.

Exit code 0: nothing was found; 1: something was, or not all could be searched.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			s.dir = strings.Join(args, "")
			switch {
			case s.staged && s.history:
				return usage(c, "--staged and --history exclude each other")
			case s.install && (s.staged || s.history || s.json):
				return usage(c, "--install-hook stands alone")
			case s.install:
				return installScan(c.Context(), s.dir)
			}
			return s.run(c.Context())
		},
	}
	c.Flags().BoolVar(&s.staged, "staged", false, "search what the next commit would add, and nothing else")
	c.Flags().BoolVar(&s.history, "history", false, "search all that git has kept as well")
	c.Flags().BoolVar(&s.json, "json", false, "write JSON")
	c.Flags().BoolVar(&s.install, "install-hook", false, "have git search before each commit")
	return c
}

// scanning is one search: what a person asked for, and what came of it.
type scanning struct {
	dir                            string
	staged, history, json, install bool

	mu       sync.Mutex
	found    []scan.Finding
	problems []string
	files    int
}

func (s *scanning) run(ctx context.Context) error {
	root, err := findRoot(s.dir)
	if err != nil {
		return err
	}
	git, err := repository(ctx, s.dir)
	if err != nil && (s.staged || s.history) {
		return err
	}
	set, short, err := valuesOf(ctx, root)
	if err != nil {
		return err
	}
	if err := s.search(ctx, set, root, git); err != nil {
		return err
	}
	s.clean(set)
	if s.json {
		err = s.writeJSON(short)
	} else {
		err = s.write(short)
	}
	if err == nil && len(s.found)+len(s.problems) > 0 {
		err = codeError(exitFailed)
	}
	return err
}

// repository is that in which dir lies. In a hook of git's, that is where git says.
func repository(ctx context.Context, dir string) (*scan.Git, error) {
	if os.Getenv("GIT_INDEX_FILE") != "" {
		dir = ""
	}
	return scan.NewGit(ctx, dir, hook.Environ(os.Environ(), nil))
}

// valuesOf are the values of the worksite at root, and the names of those that are too short.
func valuesOf(ctx context.Context, root string) (set *scan.Set, short []string, err error) {
	client, err := connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	client.Command = "keyrack"
	status, err := client.Status(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	query := daemon.Query{Root: root}
	for _, secret := range status.Secrets {
		if secret.For != nil || secret.As != worksite.AsEnv { // which is given to nobody who does not name it
			query.Want = append(query.Want, secret.Name)
		}
	}
	grant, err := granted(ctx, client, query, []string{self(), "scan"})
	if err != nil {
		return nil, nil, err
	}
	defer grant.Wipe()
	if _, err := harden.Close(); err != nil { // values are in its memory for long
		return nil, nil, err
	}
	for _, line := range grant.Lines {
		say("%s", line)
	}
	if grant.Status != wire.OK && grant.Status != wire.Missing {
		return nil, nil, codeError(exitCode(grant.Status))
	}
	memory, err := arena.New(false)
	if err != nil {
		return nil, nil, err
	}
	set = scan.NewSet(memory)
	short = []string{}
	vars, err := secretsOf(status, hook.Change(grant, nil).Put)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range vars {
		at := slices.IndexFunc(status.Secrets, func(s daemon.SecretStatus) bool { return s.Env == v.Name })
		if at < 0 { // the file changed in between
			continue
		}
		name := status.Secrets[at].Name
		switch long, err := set.Add(name, v.Value); {
		case err != nil:
			return nil, nil, err
		case !long:
			short = append(short, name)
		}
	}
	set.Build()
	return set, short, nil
}

func (s *scanning) search(ctx context.Context, set *scan.Set, root string, git *scan.Git) error {
	report := scan.Report{
		Found: func(f scan.Finding) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.found = append(s.found, f)
		},
		Problem: func(path string, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.problems = append(s.problems, relative(path)+": "+reason(err))
		},
	}
	if s.staged {
		objects, err := git.Staged()
		if err == nil {
			s.files = len(objects)
			err = set.Objects(git, objects, report)
		}
		return err
	}
	var err error
	switch {
	case s.dir != "":
		root = s.dir
	case git != nil:
		root = git.Top
	}
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	if s.files, err = set.Tree(ctx, root, report); err != nil || git == nil {
		return err
	}
	objects, err := git.Index()
	if err == nil {
		err = set.Objects(git, objects, report)
	}
	if err == nil && s.history {
		err = set.History(git, report)
	}
	return err
}

// clean puts what was found in order, once each, and takes values out of the names of files.
func (s *scanning) clean(set *scan.Set) {
	for i := range s.found {
		s.found[i].Path, _ = set.Mask(relative(s.found[i].Path))
	}
	for i := range s.problems {
		s.problems[i], _ = set.Mask(s.problems[i])
	}
	slices.SortFunc(s.found, func(a, b scan.Finding) int {
		return cmp.Or(cmp.Compare(a.In, b.In)*-1, cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.Path, b.Path), a.Line-b.Line, a.Column-b.Column,
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Form, b.Form))
	})
	s.found = slices.Compact(s.found)
	slices.Sort(s.problems)
}

// relative is path as seen from the working directory, where that is shorter.
func relative(path string) string {
	dir, err := os.Getwd()
	if err != nil || !filepath.IsAbs(path) {
		return path
	}
	if short, err := filepath.Rel(dir, path); err == nil && len(short) < len(path) {
		return short
	}
	return path
}

func (s *scanning) writeJSON(short []string) error {
	if s.found == nil {
		s.found = []scan.Finding{}
	}
	out, err := json.MarshalIndent(map[string]any{"findings": s.found, "not_searched": append([]string{}, s.problems...), "too_short": short, "files": s.files}, "", "  ")
	if err == nil {
		_, err = fmt.Println(string(out))
	}
	return err
}

func (s *scanning) write(short []string) error {
	var out strings.Builder
	names := map[string]bool{}
	for _, f := range s.found {
		names[f.Name] = true
		if f.Commit != "" {
			out.WriteString(f.Commit[:min(12, len(f.Commit))] + ":")
		}
		out.WriteString(worksite.Visible(f.Path))
		if f.Line > 0 {
			fmt.Fprintf(&out, ":%d:%d", f.Line, f.Column)
		}
		fmt.Fprintf(&out, ": %s, %s", f.Name, f.Form)
		if f.In == scan.InIndex {
			out.WriteString(", in the index")
		}
		out.WriteString("\n")
	}
	if _, err := os.Stdout.WriteString(out.String()); err != nil {
		return err
	}
	for _, name := range short {
		say("%s is shorter than %d bytes and is not looked for", name, scan.Shortest)
	}
	for _, problem := range s.problems {
		say("not searched: %s", worksite.Visible(problem))
	}
	switch {
	case len(s.found) > 0:
		say("%s found at %s", count(len(names), "secret"), count(len(s.found), "place"))
	case !s.staged && len(s.problems) == 0:
		say("nothing found in %s", count(s.files, "file"))
	}
	return nil
}

// installScan makes keyrack scan --staged the pre-commit hook of the repository, which
// has none.
func installScan(ctx context.Context, dir string) error {
	root, err := findRoot(dir)
	if err != nil {
		return err
	}
	git, err := repository(ctx, dir)
	if err != nil {
		return err
	}
	path, err := git.HookPath("pre-commit")
	if err != nil {
		return err
	}
	site, err := filepath.Rel(git.Top, root)
	if err != nil {
		return err
	}
	line := shellQuote(self()) + " scan --staged"
	if site != "." {
		line += " " + shellQuote("./"+site)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, os.ErrExist) {
		return &hinted{fmt.Errorf("%s is there already: put this line into it", path), line + " || exit"}
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString("#!/bin/sh\nexec " + line + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	say("wrote %s", relative(path))
	return nil
}
