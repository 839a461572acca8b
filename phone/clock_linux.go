package phone

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// platformClock names this boot and returns the clock that has run since it, sleep included (CLOCK_BOOTTIME, as Android's
// elapsedRealtime). No name and no clock where the kernel tells none, as in some containers.
func platformClock() (bootID string, monotonic func() time.Duration) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", nil
	}
	return strings.TrimSpace(string(id)), func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return 0
		}
		return time.Duration(ts.Nano())
	}
}
