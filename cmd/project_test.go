package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRemoteName(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/Acme/API.git":               "acme/api",
		"https://github.com/acme/api/":                  "acme/api",
		"https://user:hunter2@git.example:8443/a/b.git": "a/b",
		"https://git.example/group/sub/repo":            "group/sub/repo",
		"http://[::1]:80/a/b":                           "a/b",
		"ssh://git@git.example:2222/acme/api.git":       "acme/api",
		"ssh://git.example/~me/api.git":                 "api",
		"git://git.example/a/b":                         "a/b",
		"git@github.com:Acme/api.git":                   "acme/api",
		"github.com:acme/my api.git":                    "acme/my-api",
		"git.example:/srv/git/acme/api.git":             "srv/git/acme/api",
		"git.example:~/api":                             "api",
		"git@[::1]:acme/api.git":                        "acme/api",
		"git.example:api":                               "api",
		"https://git.example/":                          "",
		"https://git.example/../..":                     "",
		"https://git.example/日本/語":                      "",
		"file:///srv/git/acme/api.git":                  "",
		"/srv/git/acme/api.git":                         "",
		"../api":                                        "",
		"./a:b/c":                                       "",
		"https://user:hunter2%zz@x/a/b":                 "",
		"":                                              "",
	} {
		if got := remoteName(remote); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

func TestProjectName(t *testing.T) {
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("GIT_CONFIG_SYSTEM", "/dev/null")
	t.Setenv("GIT_CEILING_DIRECTORIES", os.TempDir())
	dir := filepath.Join(t.TempDir(), "My Project")
	run := func(args ...string) {
		t.Helper()
		c := exec.Command("git", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	want := func(dir, name string) {
		t.Helper()
		if got := projectName(t.Context(), dir); got != name {
			t.Errorf("%q, want %q", got, name)
		}
	}
	below := filepath.Join(dir, "packages", "Web UI")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	want(dir, "my-project") // no repository
	run("init", "-q")
	want(dir, "my-project") // no remote
	run("remote", "add", "up", "git@git.example:up/stream.git")
	want(dir, "up/stream") // no origin
	run("remote", "add", "origin", "https://me:hunter2@git.example/Acme/API.git")
	want(dir, "acme/api")
	want(below, "acme/api/packages/web-ui")
	t.Setenv("PATH", t.TempDir())
	want(dir, "my-project") // no git
	odd := filepath.Join(dir, "日本")
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	want(odd, "project")
}
