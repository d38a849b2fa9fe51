package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyrack/daemon/source"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// keyOf gets the rack's key as the command's daemon does for the kinds of lock
// that answer by themselves.
func keyOf(dataDir string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) { return source.Rack{Dir: dataDir}.Key(ctx, "") }
}

// rig is a worksite, a rack, and a cache that serves them.
type rig struct {
	home
	t       testing.TB
	options Options
	root    string
	key     []byte // the rack's identity
	cache   *Cache
	agent   Agent
	ask     atomic.Pointer[func(context.Context) ([]byte, error)] // gets the rack's key
	log     strings.Builder
	logging sync.Mutex
}

// asks has f get the rack's key from now on.
func (r *rig) asks(f func(context.Context) ([]byte, error)) { r.ask.Store(&f) }

// newRig makes a home with an unlocked rack of the kind `none` and an empty
// worksite acme/api, not approved. change may change how the cache is made.
func newRig(t testing.TB, kind string, change func(*Options)) *rig {
	t.Helper()
	r := &rig{home: *newHome(t), t: t}
	data := r.dir + "/d/keyrack"
	r.root = r.dir + "/w"
	if err := os.Mkdir(r.root, 0o700); err != nil {
		t.Fatal(err)
	}
	r.makeRack(data, kind)
	r.options = Options{Place: r.place, DataDir: data, ConfigFile: r.dir + "/c/keyrack/config.toml", Log: r.record}
	r.asks(keyOf(data))
	r.options.Key = func(ctx context.Context) ([]byte, error) { return (*r.ask.Load())(ctx) }
	if change != nil {
		change(&r.options)
	}
	r.open()
	return r
}

func (r *rig) makeRack(data, kind string) {
	r.t.Helper()
	if kind == "" {
		return
	}
	key, _, err := source.Rack{Dir: data}.Create(context.Background(), source.Lock{Kind: source.None})
	if err != nil {
		r.t.Fatal(err)
	}
	r.key = key
	if kind == source.None {
		return
	}
	// The daemon never sees how a passphrase opens the key, which takes a second.
	if err := errors.Join(os.Remove(data+"/identity"), os.WriteFile(data+"/lock", []byte(kind+"\n"), 0o600)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) record(line string) {
	r.logging.Lock()
	defer r.logging.Unlock()
	r.log.WriteString(line + "\n")
}

// open makes the cache, which is also the agent.
func (r *rig) open() {
	r.t.Helper()
	cache, err := NewCache(r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cache.Close() })
	r.cache, r.agent = cache, cache
}

// overSocket puts a server in front of the cache and makes its client the agent.
func (r *rig) overSocket() {
	r.t.Helper()
	listener, unlink, err := listen(r.place)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { newServer(r.options, r.cache, cancel).run(ctx, listener) })
	r.t.Cleanup(func() { cancel(); running.Wait(); unlink() })
	if r.agent, err = Connect(ctx, r.place, ""); err != nil {
		r.t.Fatal(err)
	}
}

// worksite writes the worksite's file and approves it.
func (r *rig) worksite(text string) {
	r.t.Helper()
	r.write(text)
	r.allow()
}

func (r *rig) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.root+"/.keyrack.toml", []byte("name = \"acme/api\"\n"+text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) allow() {
	r.t.Helper()
	site, err := worksite.Read(r.root)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.store().Allow(site); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) deny() {
	r.t.Helper()
	site, err := worksite.Read(r.root)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.store().Deny(site); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) store() worksite.Store { return worksite.Store{Dir: r.options.DataDir + "/approvals"} }

func (r *rig) config(text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.options.ConfigFile), 0o700); err != nil {
		r.t.Fatal(err)
	}
	next := r.options.ConfigFile + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(next, r.options.ConfigFile); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) set(name, value string) {
	r.t.Helper()
	if err := r.agent.Set(context.Background(), "acme/api", name, []byte(value)); err != nil {
		r.t.Fatal(err)
	}
}

// grant asks for the worksite's grant.
func (r *rig) grant() *wire.Grant {
	r.t.Helper()
	g, err := r.agent.Grant(context.Background(), Query{Root: r.root})
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// want compares a grant with a status, the names and values "A=1 B=2", and the
// lines for people. Values in these tests are made up here.
func (r *rig) want(g *wire.Grant, status, vars string, lines ...string) {
	r.t.Helper()
	var got []string
	for _, v := range g.Vars {
		got = append(got, v.Name+"="+string(v.Value))
	}
	if g.Status != status || strings.Join(got, " ") != vars || strings.Join(g.Lines, "|") != strings.Join(lines, "|") {
		r.t.Fatalf("status %s, variables %q, lines %q\nwant %s, %q, %q", g.Status, got, g.Lines, status, vars, lines)
	}
}

func (r *rig) generation() string {
	text, _ := os.ReadFile(r.place.Generation)
	return strings.TrimSpace(string(text))
}

func (r *rig) lock() {
	r.t.Helper()
	if err := r.agent.Lock(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) unlock(key []byte, ttl time.Duration) {
	r.t.Helper()
	if err := r.agent.Unlock(context.Background(), key, ttl); err != nil {
		r.t.Fatal(err)
	}
}
