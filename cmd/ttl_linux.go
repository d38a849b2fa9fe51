package cmd

import (
	"time"

	"golang.org/x/sys/unix"
)

// ttlClock names the clock that ends values: it counts suspend.
const ttlClock = "CLOCK_BOOTTIME"

// ttlNow is the time of that clock.
func ttlNow() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
}
