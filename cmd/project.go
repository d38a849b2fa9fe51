package cmd

import (
	"context"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"keyrack/worksite"
)

// projectName is the name that init gives to the worksite at dir: owner/repo of
// the git remote where there is one, with the path below the repository's root,
// so that each worksite of a repository has its own; else the directory's name.
func projectName(ctx context.Context, dir string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if name := remoteName(remoteURL(ctx, dir)); name != "" {
		return worksite.FitName(name + "/" + git(ctx, dir, "rev-parse", "--show-prefix"))
	}
	if name := worksite.FitName(filepath.Base(dir)); name != "" {
		return name
	}
	return "project"
}

// remoteURL is where the repository around dir comes from, "" where git doesn't
// know. It may hold a password.
func remoteURL(ctx context.Context, dir string) string {
	if found := git(ctx, dir, "remote", "get-url", "origin"); found != "" {
		return found
	}
	first, _, _ := strings.Cut(git(ctx, dir, "remote"), "\n")
	if first == "" {
		return ""
	}
	return git(ctx, dir, "remote", "get-url", first)
}

// git is what git prints, "" where it fails or is not installed.
func git(ctx context.Context, dir string, args ...string) string {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(out), "\n")
}

// remoteName is the path of a remote, as a worksite's name: owner/repo, deeper
// where groups nest. It is "" for a repository on this machine, whose path says
// nothing elsewhere.
func remoteName(remote string) string {
	path := ""
	if strings.Contains(remote, "://") {
		u, err := url.Parse(remote)
		if err != nil || u.Scheme == "file" {
			return ""
		}
		path = u.Path
	} else if host, rest, ok := strings.Cut(remote, ":"); ok && !strings.Contains(host, "/") {
		path = rest // [user@]host:path
		if _, after, ok := strings.Cut(remote, "]:"); ok && strings.Contains(host, "[") {
			path = after // [user@][::1]:path
		}
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." && part != ".." && !strings.HasPrefix(part, "~") {
			parts = append(parts, part)
		}
	}
	return worksite.FitName(strings.Join(parts, "/"))
}
