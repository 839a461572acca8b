//go:build !linux

package phone

import "time"

// platformClock: Go has no portable clock that runs on while the machine sleeps, and a wrong one would be worse than none.
func platformClock() (bootID string, monotonic func() time.Duration) { return "", nil }
