package push

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"
)

// Considerate is a Sender that leaves a service alone for as long as that has asked for: a quota that one message has met
// would be met by all the others too, and each would make it worse. What is held back fails with what is left of that time, which
// the Worker does not count as an attempt. FCM is one service; browsers choose theirs, and one speaks for itself alone.
type Considerate struct {
	sender Sender
	now    func() time.Time

	mu    sync.Mutex
	until map[string]time.Time // By host; those that are over are gone with the next that comes.
}

// NewConsiderate makes one.
func NewConsiderate(sender Sender, now func() time.Time) *Considerate {
	return &Considerate{sender: sender, now: now, until: make(map[string]time.Time)}
}

// errHeldBack is what a message meets that was not tried.
var errHeldBack = errors.New("held back: the push service has asked for a pause")

// Send implements Sender.
func (c *Considerate) Send(ctx context.Context, m Message) error {
	service := serviceOf(m)
	if left := c.left(service); left > 0 {
		return &RetryError{After: left, Err: errHeldBack}
	}
	err := c.sender.Send(ctx, m)
	if retry, ok := errors.AsType[*RetryError](err); ok && retry.After > 0 {
		c.pause(service, c.now().Add(min(retry.After, maxRetryAfter)))
	}
	return err
}

// serviceOf names who takes a message: the host that a browser has told, and "" for FCM.
func serviceOf(m Message) string {
	endpoint, err := url.Parse(m.Address.GetWebPush().GetEndpoint())
	if err != nil {
		return "" // It was checked when it was told.
	}
	return endpoint.Host
}

func (c *Considerate) left(service string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.until[service].Sub(c.now())
}

func (c *Considerate) pause(service string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, over := range c.until {
		if !over.After(c.now()) {
			delete(c.until, other)
		}
	}
	if until.After(c.until[service]) {
		c.until[service] = until
	}
}
