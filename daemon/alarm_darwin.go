package daemon

// newAlarm is an alarm by a timer of Go's: it stands still while the machine
// sleeps, and is late by as much after it.
func newAlarm(f func()) (alarm, error) { return newTimerAlarm(bootTime, f), nil }
