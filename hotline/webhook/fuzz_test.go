package webhook

import (
	"testing"
	"time"
)

// Protects the pause that a receiver asks for: between nothing and an hour, whatever it says.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "120", "-1", "9223372036854775807", "99999999999999999999", "Wed, 25 Nov 2026 08:00:00 GMT", "Wed, 25 Nov 9999 08:00:00 GMT"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 25, 7, 59, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string) {
		if pause := retryAfter(header, now); pause < 0 || pause > maxPause {
			t.Errorf("%q is a pause of %s", header, pause)
		}
	})
}
