package scan

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Git is the repository around a directory, as the program git sees it.
type Git struct {
	Top string // of the working tree, absolute
	ctx context.Context
	dir string
	env []string
}

// ErrNoGit says that there is no working tree of git's, or no git.
var ErrNoGit = errors.New("no git repository here")

// NewGit finds the repository in which dir lies. environ is that of the programs it runs.
func NewGit(ctx context.Context, dir string, environ []string) (*Git, error) {
	g := &Git{ctx: ctx, dir: dir, env: append(environ, "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "LC_ALL=C")}
	top, err := g.command("rev-parse", "--show-toplevel").Output()
	if err != nil {
		return nil, ErrNoGit
	}
	g.Top = strings.TrimSuffix(string(top), "\n")
	g.dir = g.Top
	return g, nil
}

func (g *Git) command(args ...string) *exec.Cmd {
	c := exec.CommandContext(g.ctx, "git", append([]string{"-c", "core.quotePath=false"}, args...)...)
	c.Dir, c.Env = g.dir, g.env
	return c
}

// run has git's output read.
func (g *Git) run(read func(io.Reader) error, stdin io.Reader, args ...string) error {
	c := g.command(args...)
	var said bytes.Buffer
	c.Stdin, c.Stderr = stdin, &said
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return fmt.Errorf("git %s: %w", args[0], err)
	}
	err = read(out)
	if err != nil {
		_ = c.Process.Kill() // it may be writing still
	}
	if ended := c.Wait(); err == nil && ended != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("git %s: %w: %s", args[0], ended, first)
	}
	return err
}

// records are the parts of git's output that end in NUL.
func (g *Git) records(each func(record string), args ...string) error {
	return g.run(func(out io.Reader) error {
		in := bufio.NewReader(out)
		for {
			record, err := in.ReadString(0)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			each(strings.TrimSuffix(record, "\x00"))
		}
	}, nil, args...)
}

// HookPath is where git looks for a hook.
func (g *Git) HookPath(name string) (string, error) {
	out, err := g.command("rev-parse", "--git-path", "hooks/"+name).Output()
	if err != nil {
		return "", fmt.Errorf("git rev-parse: %w", err)
	}
	path := strings.TrimSuffix(string(out), "\n")
	if !filepath.IsAbs(path) {
		path = filepath.Join(g.dir, path)
	}
	return path, nil
}

// gitlink is the mode of a commit of another repository.
const gitlink = "160000"

// Staged are the objects that the next commit would add, with their paths.
func (g *Git) Staged() (map[string][]string, error) {
	against := "HEAD"
	if g.command("rev-parse", "--verify", "--quiet", "HEAD").Run() != nil { // before the first commit
		empty, err := g.command("hash-object", "-t", "tree", "/dev/null").Output()
		if err != nil {
			return nil, fmt.Errorf("git hash-object: %w", err)
		}
		against = strings.TrimSpace(string(empty))
	}
	objects, entry := map[string][]string{}, ""
	err := g.records(func(record string) {
		if entry == "" {
			entry = record
			return
		}
		if f := strings.Fields(entry); len(f) == 5 && f[1] != gitlink && strings.Trim(f[3], "0") != "" {
			objects[f[3]] = append(objects[f[3]], record)
		}
		entry = ""
	}, "diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff", against)
	return objects, err
}

// Index are the objects of the index that the files of the working tree don't show.
func (g *Git) Index() (map[string][]string, error) {
	differ := map[string]bool{}
	if err := g.records(func(path string) { differ[path] = true }, "diff-files", "--name-only", "-z", "--no-renames", "--no-ext-diff"); err != nil {
		return nil, err
	}
	objects := map[string][]string{}
	err := g.records(func(record string) {
		entry, path, _ := strings.Cut(record, "\t")
		f := strings.Fields(entry) // tag, mode, object, stage
		if len(f) != 4 || f[1] == gitlink {
			return
		}
		if differ[path] || f[0] != "H" || f[1] == "120000" { // H: git looks at the file, so it is the same
			objects[f[2]] = append(objects[f[2]], path)
		}
	}, "ls-files", "--stage", "-v", "-z")
	return objects, err
}

// Objects searches the objects given, which stand in the index at their paths.
func (s *Set) Objects(g *Git, objects map[string][]string, report Report) error {
	if len(objects) == 0 {
		return nil
	}
	var list strings.Builder
	for object, paths := range objects {
		list.WriteString(object + "\n")
		for _, path := range paths {
			_, names := s.Mask(path)
			for _, name := range names {
				report.Found(Finding{Path: filepath.Join(g.Top, path), Name: name, Form: inName, In: InIndex})
			}
		}
	}
	return g.run(func(out io.Reader) error {
		return s.batch(out, report, func(object, _ string, f Finding) {
			for _, path := range objects[object] {
				f.Path, f.In = filepath.Join(g.Top, path), InIndex
				report.Found(f)
			}
		})
	}, strings.NewReader(list.String()), "cat-file", "--batch", "--buffer")
}

// batch searches what git cat-file --batch writes: for each object a line, its content, a line end.
func (s *Set) batch(out io.Reader, report Report, found func(object, kind string, f Finding)) error {
	in, r := bufio.NewReaderSize(out, chunk), s.reader()
	for {
		header, err := in.ReadString('\n')
		if err == io.EOF && header == "" {
			return nil
		}
		f := strings.Fields(header)
		if err != nil || len(f) != 3 {
			if len(f) == 2 && f[1] == "missing" { // of a partial clone
				report.Problem("object "+f[0], errors.New("git has not got it"))
				continue
			}
			return errors.New("git cat-file wrote what is not understood")
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return errors.New("git cat-file wrote what is not understood")
		}
		content := &io.LimitedReader{R: in, N: size}
		err = r.search(content, func(finding Finding) {
			if f[1] == "tree" {
				finding.Line, finding.Column, finding.Form = 0, 0, inName
			}
			found(f[0], f[1], finding)
		})
		if errors.Is(err, ErrMore) {
			report.Problem("object "+f[0], err)
			err = nil
		}
		if err == nil {
			_, err = io.CopyN(io.Discard, in, content.N+1)
		}
		if err != nil {
			return fmt.Errorf("git cat-file: %w", err)
		}
	}
}

// History searches all objects that git has, also those that no branch has any more.
func (s *Set) History(g *Git, report Report) error {
	var all []Finding
	err := g.run(func(out io.Reader) error {
		return s.batch(out, report, func(object, kind string, f Finding) {
			f.In, f.object = InHistory, object
			f.Path = kind + " " + object[:min(12, len(object))]
			if kind == "commit" {
				f.Commit = object
			}
			all = append(all, f)
		})
	}, nil, "cat-file", "--batch-all-objects", "--unordered", "--batch", "--buffer")
	if err != nil || len(all) == 0 {
		return err
	}
	came, err := g.came(all)
	for _, f := range all {
		if first, ok := came[f.object]; ok {
			f.Path, f.Commit = first.path, first.commit
		}
		report.Found(f)
	}
	return err
}

// place is where an object came into the history.
type place struct{ path, commit string }

// came tells the first place of each object in which something was found.
func (g *Git) came(found []Finding) (map[string]place, error) {
	wanted, first := map[string]bool{}, map[string]place{}
	for _, f := range found {
		wanted[f.object] = true
	}
	commit, object := "", ""
	const mark = "commit "
	err := g.records(func(record string) {
		record = strings.TrimPrefix(record, "\n")
		switch {
		case object != "":
			if _, known := first[object]; wanted[object] && !known {
				first[object] = place{filepath.Join(g.Top, record), commit}
			}
			object = ""
		case strings.HasPrefix(record, ":"):
			if f := strings.Fields(record); len(f) == 5 {
				object = f[3]
			}
		case strings.HasPrefix(record, mark):
			commit = strings.TrimSpace(strings.TrimPrefix(record, mark))
		}
	}, "log", "--all", "--reflog", "--reverse", "--raw", "-z", "-m", "--root", "--no-renames", "--no-abbrev", "--no-ext-diff", "--no-show-signature", "--format="+mark+"%H")
	return first, err
}
