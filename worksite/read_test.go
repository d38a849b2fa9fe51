package worksite

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// write makes a worksite whose file has text and returns its root, without
// symbolic links.
func write(t testing.TB, text string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, root, text)
	return root
}

func rewrite(t testing.TB, root, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, FileName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, root string) *Site {
	t.Helper()
	site, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func TestRead(t *testing.T) {
	plain := "plain"
	usual := func(change func(*Secret)) Secret {
		s := Secret{Name: "A", From: []string{""}, As: "env", Required: true, Confirm: "never"}
		change(&s)
		return s
	}
	one := func(change func(*Secret)) []Secret { return []Secret{usual(change)} }
	for name, tt := range map[string]struct {
		text string
		want Site
	}{
		"shortest": {"[secrets]\nA = ''\n", Site{Secrets: one(func(*Secret) {})}},
		"empty":    {"[secrets]", Site{}},
		"top": {"name = 'a/b'\nttl = '90m'\nexport = \"tree\"\n[secrets]",
			Site{Name: "a/b", TTL: 90 * time.Minute, Export: ExportTree}},
		"source":   {"[secrets]\nA = 'op://x/y/z'", Site{Secrets: one(func(s *Secret) { s.From = []string{"op://x/y/z"} })}},
		"an empty": {"[secrets]\nA = {}", Site{Secrets: one(func(*Secret) {})}},
		"all": {`[secrets.A]
from = ["", 'pass:x']
ttl = "1s"
for = ["make deploy", "terraform"]
as = "file"
env = "B"
required = false
confirm = "session"
default = "plain"
description = "what"`, Site{Secrets: one(func(s *Secret) {
			*s = Secret{"A", []string{"", "pass:x"}, time.Second, []string{"make deploy", "terraform"}, "file", "B", false, "session", &plain, "what", 0, 0}
		})}},
		"no command":     {"[secrets]\nA = { for = [] }", Site{Secrets: one(func(s *Secret) { s.For = []string{} })}},
		"dotted":         {"secrets.A.env = 'B'", Site{Secrets: one(func(s *Secret) { s.Env = "B" })}},
		"inline":         {"secrets = { A = { env = 'B' } }", Site{Secrets: one(func(s *Secret) { s.Env = "B" })}},
		"quoted":         {"\"secr\\u0065ts\".'A'.env = 'B'", Site{Secrets: one(func(s *Secret) { s.Env = "B" })}},
		"CRLF, BOM":      {"\ufeff[secrets]\r\nA = ''\r\n# end\r\n", Site{Secrets: one(func(*Secret) {})}},
		"many lines":     {"[secrets]\nA = { from = [ # one\n '',\n ''\n, ],\n}", Site{Secrets: one(func(s *Secret) { s.From = []string{"", ""} })}},
		"long strings":   {"[secrets]\nA = { default = \"\"\"\npl\\\n   ain\"\"\" }", Site{Secrets: one(func(s *Secret) { s.Default = &plain })}},
		"file's order":   {"[secrets]\nZ = ''\nA = ''\nM = ''", Site{Secrets: []Secret{usual(func(s *Secret) { s.Name = "Z" }), usual(func(*Secret) {}), usual(func(s *Secret) { s.Name = "M" })}}},
		"swapped":        {"[secrets]\nA = { env = 'B' }\nB = { env = 'A' }", Site{Secrets: []Secret{usual(func(s *Secret) { s.Env = "B" }), usual(func(s *Secret) { s.Name, s.Env = "B", "A" })}}},
		"profiles":       {"[secrets]\n[profiles.p.secrets]\nA = ''", Site{Profiles: []Profile{{"p", one(func(*Secret) {})}}}},
		"a default of 0": {"[secrets]\nA = { default = '' }", Site{Secrets: one(func(s *Secret) { s.Default = new(string) })}},
	} {
		t.Run(name, func(t *testing.T) {
			root := write(t, tt.text)
			got := *read(t, root)
			if got.Digest != sha256.Sum256([]byte(tt.text)) {
				t.Error("the digest is not of the file's bytes")
			}
			if tt.want.Name == "" {
				tt.want.Name = dirName(root)
			}
			if tt.want.Export == "" {
				tt.want.Export = ExportCommand
			}
			tt.want.Root, tt.want.Digest = root, got.Digest
			got.dir, got.raw, got.text, got.ttlAt, got.unbuilt = "", nil, "", 0, nil
			for _, secrets := range append([][]Secret{got.Secrets}, profileSecrets(got)...) {
				for i := range secrets {
					secrets[i].variableAt, secrets[i].ttlAt = 0, 0
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func profileSecrets(s Site) (all [][]Secret) {
	for _, p := range s.Profiles {
		all = append(all, p.Secrets)
	}
	return all
}

func TestVariable(t *testing.T) {
	if got := (Secret{Name: "A"}).Variable() + (Secret{Name: "A", Env: "B"}).Variable(); got != "AB" {
		t.Error(got)
	}
}

func TestFind(t *testing.T) {
	root := write(t, "[secrets]")
	below := root + "/a/b"
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	want := func(dir, root string) {
		t.Helper()
		if got := Find(dir); got != root {
			t.Errorf("Find(%s) is %q, want %q", dir, got, root)
		}
	}
	want(below, root)
	want(root, root)
	want(root+"/a/not there", root)
	want("a", "")
	want("", "")
	if err := os.Mkdir(root+"/a/"+FileName, 0o700); err != nil {
		t.Fatal(err)
	}
	want(below, root+"/a")
	if err := os.Symlink("nowhere", below+"/"+FileName); err != nil {
		t.Fatal(err)
	}
	want(below, root+"/a")
	if err := os.Remove(root + "/a/" + FileName); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(root + "/" + FileName); err != nil {
		t.Fatal(err)
	}
	if got := Find(below); strings.HasPrefix(got, root) {
		t.Errorf("found %q", got)
	}
}

// The name of a directory stands in for the one that a file doesn't have.
func TestNameOfDirectory(t *testing.T) {
	parent := write(t, "")
	for dir, want := range map[string]string{"api": "api", "My Project (2)": "my-project-2", "ÄB": "b", ".dot": ".dot"} {
		root := filepath.Join(parent, dir)
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Fatal(err)
		}
		rewrite(t, root, "[secrets]")
		if got := read(t, root).Name; got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
	root := filepath.Join(parent, "日本")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	rewrite(t, root, "[secrets]")
	if _, err := Read(root); err == nil || !strings.HasSuffix(err.Error(), `/.keyrack.toml:1:1: the directory's name fits no worksite: add name = "…"`) {
		t.Error(err)
	}
}

// A symbolic link in the way to a worksite makes no other worksite of it.
func TestReadThroughLink(t *testing.T) {
	root := write(t, "[secrets]\nA = 3")
	link := filepath.Join(filepath.Dir(write(t, "")), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(link); err == nil || !strings.HasPrefix(err.Error(), link+"/.keyrack.toml:2:5: ") {
		t.Error(err)
	}
	rewrite(t, root, "[secrets]")
	if site := read(t, link); site.Root != link || site.dir != root || site.Name != dirName(root) {
		t.Errorf("root %s, dir %s, name %s", site.Root, site.dir, site.Name)
	}
}

func TestReread(t *testing.T) {
	root := write(t, "[secrets]\nA = ''")
	first := read(t, root)
	again := func() *Site {
		t.Helper()
		site, err := first.Reread()
		if err != nil {
			t.Fatal(err)
		}
		return site
	}
	if again() != first {
		t.Error("the same bytes were parsed again")
	}
	rewrite(t, root, "[secrets]\nB = ''")
	if site := again(); site.Secrets[0].Name != "B" || !reflect.DeepEqual(site, read(t, root)) {
		t.Errorf("changed: %+v", site)
	}
	rewrite(t, root, "[secrets]\nA = ''")
	if err := os.Rename(root, root+"-moved"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root + "-moved") })
	if err := os.Symlink(root+"-moved", root); err != nil {
		t.Fatal(err)
	}
	if site := again(); site == first || site.dir != root+"-moved" {
		t.Error("the same bytes of another directory were taken for the same")
	}
	rewrite(t, root, "[secrets")
	if _, err := first.Reread(); err == nil {
		t.Error("a broken file was read again without an error")
	}
}

func TestFileIsChecked(t *testing.T) {
	const text = "[secrets]\n"
	for name, tt := range map[string]struct {
		make func(path string) error
		want string // "" where it can be read
	}{
		"none":                     {func(string) error { return nil }, "no such file or directory"},
		"a directory":              {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"a FIFO":                   {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		"a link to a device":       {func(path string) error { return os.Symlink("/dev/null", path) }, "not a regular file"},
		"a link to itself":         {func(path string) error { return os.Symlink(path, path) }, "too many levels of symbolic links"},
		"others may write":         {func(path string) error { return writeMode(path, text, 0o646) }, "others may write it (mode 646): chmod go-w .keyrack.toml"},
		"the group may write":      {func(path string) error { return writeMode(path, text, 0o664) }, "others may write it (mode 664): chmod go-w .keyrack.toml"},
		"all may read":             {func(path string) error { return writeMode(path, text, 0o444) }, ""},
		"64 KiB":                   {func(path string) error { return writeMode(path, text+strings.Repeat("\n", maxSize-len(text)), 0o600) }, ""},
		"over 64 KiB":              {func(path string) error { return writeMode(path, text+strings.Repeat("\n", maxSize), 0o600) }, "over 64 KiB"},
		"a link to a file":         {func(path string) error { return linkTo(path, text, 0o600) }, ""},
		"a link to a shared file":  {func(path string) error { return linkTo(path, text, 0o666) }, "others may write it (mode 666): chmod go-w .keyrack.toml"},
		"another user's (if root)": {func(path string) error { return chownIfRoot(path, text) }, "belongs to another user"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, FileName)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			if name == "another user's (if root)" && os.Geteuid() != 0 {
				tt.want = ""
			}
			_, err := Read(root)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || err.Error() != path+": "+tt.want):
				t.Errorf("error %v, want %s: %s", err, path, tt.want)
			}
		})
	}
}

// writeMode writes a file with a mode that is not cut by the umask.
func writeMode(path, text string, mode os.FileMode) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func linkTo(path, text string, mode os.FileMode) error {
	if err := os.Symlink("kept", path); err != nil {
		return err
	}
	return writeMode(filepath.Join(filepath.Dir(path), "kept"), text, mode)
}

func chownIfRoot(path, text string) error {
	if err := writeMode(path, text, 0o600); err != nil || os.Geteuid() != 0 {
		return err
	}
	return os.Chown(path, 12345, -1)
}

// A path in an error can't act on the terminal that shows it.
func TestPathOfErrorIsVisible(t *testing.T) {
	root := filepath.Join(write(t, ""), "a\x1b[2J\nb")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	rewrite(t, root, "")
	_, err := Read(root)
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || !strings.HasSuffix(err.Error(), `a\x1b[2J\nb/.keyrack.toml":1:1: a worksite needs a table [secrets]`) {
		t.Errorf("%q", err)
	}
}

// What is hashed is what was parsed, also while somebody rewrites the file.
func TestOneRead(t *testing.T) {
	texts := []string{"[secrets]\nA = ''\n", "[secrets]\nB = ''\n"}
	root := write(t, texts[0])
	stop := make(chan struct{})
	done := make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				close(done)
				return
			default:
			}
			next := filepath.Join(root, "next")
			if err := os.WriteFile(next, []byte(texts[i%2]), 0o600); err != nil {
				done <- err
				return
			}
			if err := os.Rename(next, filepath.Join(root, FileName)); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 500 {
		site := read(t, root)
		text := texts[0]
		if site.Secrets[0].Name == "B" {
			text = texts[1]
		}
		if site.Digest != sha256.Sum256([]byte(text)) || !bytes.Equal(site.raw, []byte(text)) {
			t.Fatal("the digest is of other bytes than those that were parsed")
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
