package daemon

import "time"

// alarm calls a function when a moment has come, and costs nothing until then.
type alarm interface {
	set(at time.Duration) // on the clock of Options.Now, in place of any other moment
	unset()
	close() // f may still be running, or about to
}

// timerAlarm is an alarm by a timer of Go's, whose clock may stand still while
// Options.Now goes on. That delays the alarm; whoever reads looks at the time too.
type timerAlarm struct {
	timer *time.Timer
	now   func() time.Duration
}

func newTimerAlarm(now func() time.Duration, f func()) alarm {
	a := timerAlarm{time.AfterFunc(time.Hour, f), now}
	a.unset()
	return a
}

// set never spins on what two clocks differ by.
func (a timerAlarm) set(at time.Duration) { a.timer.Reset(max(at-a.now(), time.Millisecond)) }
func (a timerAlarm) unset()               { a.timer.Stop() }
func (a timerAlarm) close()               { a.timer.Stop() }
