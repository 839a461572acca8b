package push

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Considerate is a Sender that leaves its service alone for as long as that has asked for: a quota that one message has met
// would be met by all the others too, and each would make it worse. What is held back fails with what is left of that time, which
// the Worker does not count as an attempt.
type Considerate struct {
	sender Sender
	now    func() time.Time

	mu    sync.Mutex
	until time.Time
}

// NewConsiderate makes one.
func NewConsiderate(sender Sender, now func() time.Time) *Considerate {
	return &Considerate{sender: sender, now: now}
}

// errHeldBack is what a message meets that was not tried.
var errHeldBack = errors.New("held back: the push service has asked for a pause")

// Send implements Sender.
func (c *Considerate) Send(ctx context.Context, m Message) error {
	if left := c.left(); left > 0 {
		return &RetryError{After: left, Err: errHeldBack}
	}
	err := c.sender.Send(ctx, m)
	if retry, ok := errors.AsType[*RetryError](err); ok && retry.After > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if until := c.now().Add(min(retry.After, maxRetryAfter)); until.After(c.until) {
			c.until = until
		}
	}
	return err
}

func (c *Considerate) left() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.until.Sub(c.now())
}
