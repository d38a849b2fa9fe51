package cmd

import (
	"time"

	"golang.org/x/sys/unix"
)

// ttlClock names the clock that ends values: on macOS it counts sleep.
const ttlClock = "CLOCK_MONOTONIC"

// ttlNow is the time of that clock.
func ttlNow() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano()), err
}
