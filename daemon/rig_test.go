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

// inProcess opens the rack in this process, which is cheaper by far, for tests of
// something else.
type inProcess struct{ rack source.Rack }

// key is the one for a call: that of the lock where none is given, as in RackChild.
func (o inProcess) key(ctx context.Context, key []byte) ([]byte, error) {
	if len(key) > 0 {
		return key, nil
	}
	return o.rack.Key(ctx, "")
}

func (o inProcess) Read(ctx context.Context, key []byte, site string, names []string, room source.Room) error {
	key, err := o.key(ctx, key)
	if err != nil {
		return err
	}
	values, err := o.rack.Read(ctx, key, site, names)
	for _, name := range names {
		value, ok := values[name]
		if !ok {
			continue
		}
		to, err := room(name, len(value), 0)
		if err != nil {
			return err
		}
		copy(to, value)
	}
	return err
}

func (o inProcess) List(ctx context.Context, key []byte, site string) ([]source.Item, error) {
	key, err := o.key(ctx, key)
	if err != nil {
		return nil, err
	}
	return o.rack.List(ctx, key, site)
}

func (o inProcess) Set(ctx context.Context, key []byte, site, name string, value []byte) error {
	key, err := o.key(ctx, key)
	if err != nil {
		return err
	}
	return o.rack.Set(ctx, key, site, name, value)
}

func (o inProcess) Remove(ctx context.Context, key []byte, site, name string) error {
	key, err := o.key(ctx, key)
	if err != nil {
		return err
	}
	return o.rack.Remove(ctx, key, site, name)
}

func (o inProcess) CheckKey(_ context.Context, key []byte) error { return o.rack.CheckKey(key) }

// watched is an opener with something that comes before each use.
type watched struct {
	opener
	before func(ctx context.Context) error
}

func (w watched) Read(ctx context.Context, key []byte, site string, names []string, room source.Room) error {
	if err := w.before(ctx); err != nil {
		return err
	}
	return w.opener.Read(ctx, key, site, names, room)
}

func (w watched) List(ctx context.Context, key []byte, site string) ([]source.Item, error) {
	if err := w.before(ctx); err != nil {
		return nil, err
	}
	return w.opener.List(ctx, key, site)
}

func (w watched) Set(ctx context.Context, key []byte, site, name string, value []byte) error {
	if err := w.before(ctx); err != nil {
		return err
	}
	return w.opener.Set(ctx, key, site, name, value)
}

func (w watched) Remove(ctx context.Context, key []byte, site, name string) error {
	if err := w.before(ctx); err != nil {
		return err
	}
	return w.opener.Remove(ctx, key, site, name)
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
	server  *server                                     // after overSocket
	meet    atomic.Pointer[func(context.Context) error] // comes before each use of the rack
	tools   string                                      // a directory, after newToolRig
	log     strings.Builder
	logging sync.Mutex
}

// meets has f come before each use of the rack from now on.
func (r *rig) meets(f func(context.Context) error) { r.meet.Store(&f) }

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
	r.meets(func(context.Context) error { return nil })
	r.opensBy(inProcess{source.Rack{Dir: data}})
	if change != nil {
		change(&r.options)
	}
	r.open()
	return r
}

// opensBy has the rack opened by o, after what meets says.
func (r *rig) opensBy(o opener) {
	r.options.opener = watched{o, func(ctx context.Context) error { return (*r.meet.Load())(ctx) }}
}

// byChildren is the opener that daemons have: a process of this test's program.
func (r *rig) byChildren() opener {
	return source.Opener{Rack: source.Rack{Dir: r.dir + "/d/keyrack"}, Program: Self(), Environ: childEnvironment()}
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
	r.server = newServer(r.options, r.cache, cancel)
	running.Go(func() { r.server.run(ctx, listener) })
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

// wantFrame is want for a grant that is ready to be sent.
func (r *rig) wantFrame(f frame, status, vars string, lines ...string) {
	r.t.Helper()
	fields, err := f.parse()
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := wire.ParseGrant(fields)
	if err != nil {
		r.t.Fatal(err)
	}
	r.want(g, status, vars, lines...)
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
