package daemon

import "context"

// watcher is what happens outside and ends what the daemon holds. session is the
// audit session id that it serves, "" for none.
type watcher struct {
	session  string
	lock     func(why string) // as `keyrack lock` does
	leave    func(why string) // the session is over: wipe and end
	log      func(line string)
	watching func(bool) // whether somebody would tell
}

// watch starts watching and returns what waits until that has ended, after ctx.
func watch(ctx context.Context, o Options, cache *Cache, leave func()) (wait func()) {
	w := watcher{
		session: o.Place.Session,
		log:     o.Log,
		lock: func(why string) {
			cache.lockedBy(why)
			if err := cache.Lock(ctx); err != nil && o.Log != nil {
				o.Log("locking on " + why + ": " + err.Error())
			}
		},
		leave:    func(string) { leave() },
		watching: func(on bool) { cache.watched.Store(on) },
	}
	if w.log == nil {
		w.log = func(string) {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		watchLogind(ctx, w)
	}()
	return func() { <-done }
}
