package cmd

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"keyrack/daemon"
	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// fakeRack is an agent for one site that has a rack and nothing else. It fails
// at the name fails.
type fakeRack struct {
	daemon.Agent
	site   string
	values map[string]string
	fails  string
}

var errFull = &wire.Error{Status: wire.Failed, Message: "the disk is full", Hint: "df"}

func (f *fakeRack) List(_ context.Context, site string) (items []daemon.Item, err error) {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		items = append(items, daemon.Item{Site: site, Name: name})
	}
	return items, nil
}

func (f *fakeRack) Get(_ context.Context, site, name string) ([]byte, error) {
	return []byte(f.values[name]), nil
}

func (f *fakeRack) Set(_ context.Context, site, name string, value []byte) error {
	if name == f.fails || site != f.site {
		return errFull
	}
	f.values[name] = string(value)
	return nil
}

func vars(pairs ...string) (vars []source.Var) {
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		vars = append(vars, source.Var{Name: name, Value: []byte(value)})
	}
	return vars
}

// stderr is what f writes for people.
func stderr(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	old := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = old }()
	f()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestImportKeepsWhatTheRackHas(t *testing.T) {
	rack := &fakeRack{site: "acme/api", values: map[string]string{"A": "old", "B": "same", "Z": "z"}}
	said := stderr(t, func() {
		if err := importVars(t.Context(), rack, "acme/api", vars("A=new", "B=same", "C=", "D=d")); err != nil {
			t.Fatal(err)
		}
	})
	want := map[string]string{"A": "old", "B": "same", "C": "", "D": "d", "Z": "z"}
	if !maps.Equal(rack.values, want) {
		t.Errorf("the rack has %v, want %v", rack.values, want)
	}
	if want := "keyrack: A is in the rack already, with another value, which stays; to replace it:\nkeyrack set A\nkeyrack: put 2 values into the rack\n"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestImportThatFailsGoesOnLater(t *testing.T) {
	rack := &fakeRack{site: "acme/api", values: map[string]string{}, fails: "B"}
	err := importVars(t.Context(), rack, "acme/api", vars("A=1", "B=2", "C=3"))
	if e, ok := errors.AsType[*wire.Error](err); !ok || e != errFull || err.Error() != "importing B, after 1 value: the disk is full" {
		t.Errorf("error %v", err)
	}
	rack.fails = ""
	if err := importVars(t.Context(), rack, "acme/api", vars("A=1", "B=2", "C=3")); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"A": "1", "B": "2", "C": "3"}; !maps.Equal(rack.values, want) {
		t.Errorf("the rack has %v, want %v", rack.values, want)
	}
}

func TestImportable(t *testing.T) {
	var fit []source.Var
	said := stderr(t, func() {
		var err error
		if fit, err = importable(".env", vars("A=1", "PATH=/evil", "B=2", "LD_PRELOAD=x")); err != nil {
			t.Fatal(err)
		}
	})
	if len(fit) != 2 || fit[0].Name != "A" || fit[1].Name != "B" {
		t.Errorf("fit: %v", fit)
	}
	if strings.Count(said, "left out: ") != 2 || !strings.Contains(said, `"PATH"`) || strings.Contains(said, "evil") {
		t.Errorf("said %q", said)
	}
	if _, err := importable("my .env", vars("Aa=1", "AA=2")); err == nil || err.Error() != "my .env: Aa and AA differ only in letter case" {
		t.Errorf("error %v", err)
	}
}

func TestSiteTextIsAWorksite(t *testing.T) {
	for _, vars := range [][]source.Var{nil, vars("A=1"), vars("B=hunter2", "A=\"\n")} {
		dir := t.TempDir()
		if err := writeNew(filepath.Join(dir, worksite.FileName), siteText("acme/api", vars)); err != nil {
			t.Fatal(err)
		}
		site, err := worksite.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range site.Secrets {
			names = append(names, s.Name)
		}
		if site.Name != "acme/api" || len(names) != len(vars) || len(vars) == 2 && names[0] != "B" {
			t.Errorf("name %s, secrets %s", site.Name, names)
		}
	}
}

func TestWriteNew(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o002))
	path := filepath.Join(t.TempDir(), "new")
	if err := writeNew(path, "text"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := writeNew(path, "other"); err == nil {
		t.Error("wrote over a file")
	}
	link := path + "-link"
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(link, "other"); err == nil {
		t.Error("wrote through a link")
	}
	if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, []byte("text")) {
		t.Errorf("%q, %v", text, err)
	}
}

func TestReadDotenvIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte("A='"+strings.Repeat("x", maxDotenv)+"'"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readDotenv(path); err == nil || err.Error() != path+": over 1 MiB" {
		t.Errorf("%.80v", err)
	}
	if _, err := readDotenv(path + "-none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestShellWord(t *testing.T) {
	for text, want := range map[string]string{".env": ".env", "a/b-c_D.1": "a/b-c_D.1", "a b": "-- 'a b'", "-rf": "-- '-rf'", "": "-- ''", "$(id)": "-- '$(id)'"} {
		if got := shellWord(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
