package worksite

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func newStore(t testing.TB) Store {
	t.Helper()
	return Store{Dir: filepath.Join(t.TempDir(), "data", "approvals")}
}

func want(t *testing.T, st Store, root string, approval Approval) {
	t.Helper()
	if got := st.Check(read(t, root)); got != approval {
		t.Fatalf("approval %d, want %d", got, approval)
	}
}

func allow(t *testing.T, st Store, root string) {
	t.Helper()
	if err := st.Allow(read(t, root)); err != nil {
		t.Fatal(err)
	}
}

func TestApprovalIsOfDirectoryAndBytes(t *testing.T) {
	st := newStore(t)
	const text = "name = 'acme/api'\n[secrets]\nA = ''\n"
	root := write(t, text)
	want(t, st, root, Unknown)
	allow(t, st, root)
	want(t, st, root, Allowed)
	want(t, st, write(t, text), Unknown) // the same bytes elsewhere

	rewrite(t, root, text+" ")
	want(t, st, root, Unknown)
	allow(t, st, root)
	want(t, st, root, Allowed)
	rewrite(t, root, text) // approved once, replaced since
	want(t, st, root, Unknown)

	allow(t, st, root)
	moved := root + "-moved"
	if err := os.Rename(root, moved); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(moved) })
	want(t, st, moved, Unknown)
	if err := os.Symlink(moved, root); err != nil { // the canonical directory counts
		t.Fatal(err)
	}
	want(t, st, root, Unknown)
	allow(t, st, root)
	want(t, st, moved, Allowed)
}

func TestDenySticks(t *testing.T) {
	st := newStore(t)
	root := write(t, "[secrets]\nA = ''\n")
	if st.Denied(root) {
		t.Error("denied from the start")
	}
	allow(t, st, root)
	if err := st.Deny(read(t, root)); err != nil {
		t.Fatal(err)
	}
	want(t, st, root, Denied)
	rewrite(t, root, "[secrets]\nB = ''\n")
	want(t, st, root, Denied)
	if st.Last(read(t, root)) != nil {
		t.Error("an approval is left")
	}
	rewrite(t, root, "[secrets")
	if !st.Denied(root) {
		t.Error("a file that can't be read is not denied")
	}
	rewrite(t, root, "[secrets]")
	allow(t, st, root)
	want(t, st, root, Allowed)
	if st.Denied(root) {
		t.Error("allow left it denied")
	}

	broken := write(t, "[secrets")
	if err := st.DenyRoot(broken); err != nil {
		t.Fatal(err)
	}
	rewrite(t, broken, "[secrets]")
	want(t, st, broken, Denied)
	want(t, st, root, Allowed)
}

func TestLast(t *testing.T) {
	st := newStore(t)
	root := write(t, "\ufeff[secrets]\r\nA = 'pass:ä\U0001f511\u2028<&>'\r\n")
	if st.Last(read(t, root)) != nil {
		t.Error("something was approved")
	}
	before := read(t, root)
	allow(t, st, root)
	rewrite(t, root, "[secrets]\nB = ''\n")
	last := st.Last(read(t, root))
	if !reflect.DeepEqual(last, before) {
		t.Errorf("last %+v\nwant %+v", last, before)
	}
}

func TestOthers(t *testing.T) {
	st := newStore(t)
	const text = "name = 'acme/api'\n[secrets]\n"
	a, b, c, gone, denied := write(t, text), write(t, text), write(t, "name = 'acme/web'\n[secrets]\n"), write(t, text), write(t, text)
	if got := st.Others(read(t, a)); got != nil {
		t.Errorf("others before any approval: %q", got)
	}
	for _, root := range []string{a, b, c, gone, denied} {
		allow(t, st, root)
	}
	if err := st.Deny(read(t, denied)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(gone, FileName)); err != nil {
		t.Fatal(err)
	}
	if got := st.Others(read(t, a)); !reflect.DeepEqual(got, []string{b}) {
		t.Errorf("others of a: %q, want %q", got, b)
	}
	if got := st.Others(read(t, c)); got != nil {
		t.Errorf("others of c: %q", got)
	}
}

// The name of a directory is bytes, not text.
func TestDirectoryOfAnyName(t *testing.T) {
	st := newStore(t)
	for _, name := range []string{"ä", "new\nline", `quote"\`, "\xff\xfe", "\ufffd", strings.Repeat("x", 250)} {
		root := filepath.Join(write(t, ""), name)
		if err := os.Mkdir(root, 0o700); err != nil {
			if name == "\xff\xfe" { // macOS has no such names
				continue
			}
			t.Fatal(err)
		}
		rewrite(t, root, "name = 'a'\n[secrets]")
		allow(t, st, root)
		want(t, st, root, Allowed)
	}
	if got := st.Others(read(t, write(t, "name = 'a'\n[secrets]"))); len(got) < 5 {
		t.Errorf("others %q", got)
	}
}

// Whatever is wrong with what is kept, it is no approval.
func TestBadRecordIsNoApproval(t *testing.T) {
	const text = "[secrets]\nA = ''\n"
	root := write(t, text)
	other := write(t, text)
	edit := func(change func(map[string]any)) func(string) error {
		return func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var r map[string]any
			if err := json.Unmarshal(data, &r); err != nil {
				return err
			}
			change(r)
			data, _ = json.Marshal(r)
			return os.WriteFile(path, data, 0o600)
		}
	}
	for name, spoil := range map[string]func(path string) error{
		"empty":            func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"no JSON":          func(path string) error { return os.WriteFile(path, []byte("allowed"), 0o600) },
		"cut":              func(path string) error { return os.Truncate(path, 40) },
		"a directory":      func(path string) error { return replaceBy(path, func() error { return os.Mkdir(path, 0o700) }) },
		"a link":           func(path string) error { return replaceBy(path, func() error { return os.Symlink("elsewhere", path) }) },
		"others may write": func(path string) error { return os.Chmod(path, 0o622) },
		"the directory too": func(path string) error {
			return os.Chmod(filepath.Dir(path), 0o777)
		},
		"another version":      edit(func(r map[string]any) { r["version"] = 2 }),
		"another state":        edit(func(r map[string]any) { r["state"] = "maybe" }),
		"another digest":       edit(func(r map[string]any) { r["sha256"] = strings.Repeat("0", 64) }),
		"no digest":            edit(func(r map[string]any) { delete(r, "sha256") }),
		"another directory":    edit(func(r map[string]any) { r["root"] = fmt.Sprintf("%q", other) }),
		"no directory":         edit(func(r map[string]any) { delete(r, "root") }),
		"another's under name": func(path string) error { return os.Rename(path, filepath.Join(filepath.Dir(path), fileOf(other))) },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStore(t)
			allow(t, st, root)
			if err := spoil(filepath.Join(st.Dir, fileOf(root))); err != nil {
				t.Fatal(err)
			}
			want(t, st, root, Unknown)
			want(t, st, other, Unknown)
			_ = st.Others(read(t, other))
			_ = os.Chmod(st.Dir, 0o700)
			if name != "a directory" {
				allow(t, st, root)
				want(t, st, root, Allowed)
			}
		})
	}
}

func replaceBy(path string, with func() error) error {
	if err := os.Rename(path, filepath.Join(filepath.Dir(path), "elsewhere")); err != nil {
		return err
	}
	return with()
}

// A file that was changed by hand still approves its digest alone, and no
// difference is made up from it.
func TestLastOfSpoiltFile(t *testing.T) {
	st := newStore(t)
	root := write(t, "[secrets]\nA = ''\n")
	allow(t, st, root)
	path := filepath.Join(st.Dir, fileOf(root))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), "A = ''", "B = ''", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if last := st.Last(read(t, root)); last != nil {
		t.Errorf("last %+v", last)
	}
}

func TestStoreIsPrivate(t *testing.T) {
	st := newStore(t)
	allow(t, st, write(t, "[secrets]"))
	err := filepath.Walk(filepath.Dir(st.Dir), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A store that can't be written says so, and leaves nothing behind.
func TestStoreThatCantBeWritten(t *testing.T) {
	st := newStore(t)
	site := read(t, write(t, "[secrets]"))
	if err := os.MkdirAll(filepath.Dir(st.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(st.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if st.Allow(site) == nil || st.Check(site) != Unknown {
		t.Error("approved in a file that is no directory")
	}
	if err := os.Remove(st.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(st.Dir, fileOf(site.dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	if st.Allow(site) == nil {
		t.Error("approved over a directory")
	}
	if left, _ := filepath.Glob(st.Dir + "/.new-*"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

// Approvals of many worksites at once are all kept, and whoever reads meanwhile
// sees an old one or a new one.
func TestAllowAtOnce(t *testing.T) {
	st := newStore(t)
	var roots []string
	for i := range 20 {
		roots = append(roots, write(t, fmt.Sprintf("name = 'a%d'\n[secrets]", i)))
	}
	shared := write(t, "name = 'shared'\n[secrets]")
	allow(t, st, shared)
	sites := make([]*Site, len(roots))
	for i, root := range roots {
		sites[i] = read(t, root)
	}
	again := read(t, shared)
	var all sync.WaitGroup
	for _, site := range sites {
		all.Go(func() {
			for range 5 {
				if err := st.Allow(site); err != nil {
					t.Error(err)
				}
				if err := st.Allow(again); err != nil {
					t.Error(err)
				}
				if st.Check(again) != Allowed {
					t.Error("an approval was gone for a moment")
				}
			}
		})
	}
	all.Wait()
	for _, root := range append(roots, shared) {
		want(t, st, root, Allowed)
	}
	if entries, err := os.ReadDir(st.Dir); err != nil || len(entries) != len(roots)+1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// All tells of each word whether it is still about what is there.
func TestAllTellsWhatIsOutOfDate(t *testing.T) {
	st := newStore(t)
	if all, err := st.All(); err != nil || len(all) != 0 {
		t.Fatalf("no store: %v, %v", all, err)
	}
	const text = "name = 'acme/api'\n[secrets]\nA = ''\n"
	want := map[string]Kept{}
	for _, how := range []string{"same", "changed", "wrong", "gone", "denied", "denied and gone"} {
		root := write(t, text)
		allow(t, st, root)
		k := Kept{Root: root}
		switch how {
		case "changed", "wrong":
			rewrite(t, root, map[string]string{"changed": text + "#", "wrong": "["}[how])
			k.Changed = true
		case "gone":
			k.Gone = true
		case "denied", "denied and gone":
			if err := st.DenyRoot(root); err != nil {
				t.Fatal(err)
			}
			k.Denied, k.Gone = true, how != "denied"
		}
		if k.Gone {
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
		want[root] = k
	}
	open := write(t, text)
	allow(t, st, open)
	if err := os.Chmod(filepath.Join(st.Dir, fileOf(open)), 0o666); err != nil {
		t.Fatal(err)
	}

	all, err := st.All()
	if err != nil || len(all) != len(want)+1 {
		t.Fatalf("%d words, %v", len(all), err)
	}
	for _, got := range all {
		if got.Root == "" {
			if got.Err == nil || got.File != filepath.Join(st.Dir, fileOf(open)) {
				t.Errorf("%+v", got)
			}
			continue
		}
		expected := want[got.Root]
		expected.File = filepath.Join(st.Dir, fileOf(got.Root))
		if got != expected {
			t.Errorf("got %+v, want %+v", got, expected)
		}
	}
}
