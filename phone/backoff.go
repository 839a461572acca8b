package phone

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

// backoff says how long to wait before the next attempt: a random time up to a bound that doubles with each failure ("full
// jitter"), so that a thousand phones that lost the server at once do not all come back at once. The zero value waits up to
// 1 second first and 5 minutes at the most. Not for several goroutines.
type backoff struct {
	// Min is the first bound and Max the last.
	Min, Max time.Duration

	failures int
}

// Next counts a failure and returns the wait after it: at least half of Min, and never less than atLeast, which is what
// the server asked for.
func (b *backoff) Next(atLeast time.Duration) time.Duration {
	low, high := b.Min, b.Max
	if low <= 0 {
		low = time.Second
	}
	if high <= 0 {
		high = 5 * time.Minute
	}
	bound := min(high, low<<min(b.failures, 20))
	b.failures++
	return max(atLeast, low/2+rand.N(max(1, bound-low/2))) //nolint:gosec // Jitter is no secret.
}

// Reset forgets the failures.
func (b *backoff) Reset() { b.failures = 0 }

// Wait waits as Next says, or until ctx ends, whose error it then returns.
func (b *backoff) Wait(ctx context.Context, atLeast time.Duration) error {
	timer := time.NewTimer(b.Next(atLeast))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// retryAfter is how long the server wants to be left alone.
func retryAfter(err error) time.Duration {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.RetryAfter
	}
	return 0
}
