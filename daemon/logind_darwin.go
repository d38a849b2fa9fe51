package daemon

import "context"

// watchLogind: macOS has no logind.
func watchLogind(_ context.Context, w watcher) {
	w.log("suspend, screen lock and logout are not seen: macOS tells them to programs with a run loop alone")
}
