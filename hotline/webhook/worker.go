// Package webhook posts completions and changes of tickets to the addresses that are registered: signed by Standard Webhooks, as
// CloudEvents, at least once, for three days. The logs that the pull feeds read are its outbox: a webhook is a place in each, and what
// failed waits in a list of its own, so that nothing behind it is held up.
package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/internal/outward"
	"github.com/cong1022/fieldsync/store"
)

const (
	// batch is how many events a webhook posts before its place is written down: that many come twice after a crash.
	batch = 50
	// lease is for how long a worker has a webhook for itself. A turn ends before it.
	lease       = 3 * time.Minute
	turnTimeout = 2 * time.Minute
	// maxWaiting bounds what waits to be repeated. A webhook with more stands still in the logs until it succeeds again.
	maxWaiting = 100
	// tick is how often the worker looks without being woken.
	tick = 30 * time.Second
)

// pauses are the growing pauses between tries: the last try is three days and a quarter after the first.
var pauses = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// Options are what a Worker needs. Store and Log are required.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Source is the "source" of the events: who posts, such as the issuer's name.
	Source string
	// Allowed are networks that may be posted to though they are not public.
	Allowed []netip.Prefix
}

// Worker posts. Several may share a store: a lease keeps them from posting for one webhook at a time.
type Worker struct {
	o      Options
	client *http.Client
}

// New makes a Worker.
func New(o Options) *Worker { return &Worker{o: o, client: outward.NewClient(o.Allowed)} }

// Run posts until ctx ends, and returns when the posts under way have ended.
func (w *Worker) Run(ctx context.Context) error {
	defer w.client.CloseIdleConnections()
	var wakes []<-chan struct{}
	for _, topic := range []string{hotline.WebhooksTopic, store.FeedTopic, store.TicketChangesTopic} {
		wake, stop := w.o.Store.Subscribe(topic)
		defer stop()
		wakes = append(wakes, wake)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		more, next, err := w.turn(ctx)
		if err != nil && ctx.Err() == nil {
			w.o.Log.ErrorContext(ctx, "webhooks", "error", err)
		}
		if more {
			continue
		}
		due := time.NewTimer(max(min(next, tick), 10*time.Millisecond))
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-ticker.C:
		case <-wakes[0]:
		case <-wakes[1]:
		case <-wakes[2]:
		}
		due.Stop()
	}
	return nil
}

// turn lets every webhook post a batch, side by side, so that a slow one holds up the others for one turn at the most. more: one
// has not come to the end; next: after which time one has something to repeat.
func (w *Worker) turn(ctx context.Context) (more bool, next time.Duration, err error) {
	var ids []string
	next = tick
	err = w.o.Store.View(ctx, func(tx *store.Tx) error {
		for hook, err := range store.Scan(tx, store.Webhooks(), nil) {
			if err != nil {
				return err
			}
			ready, wait, err := isReady(tx, hook)
			if err != nil {
				return err
			}
			if ready {
				ids = append(ids, hook.GetShown().GetId())
			} else if wait > 0 {
				next = min(next, wait)
			}
		}
		return nil
	})
	if err != nil {
		return false, next, err
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	for _, id := range ids {
		group.Go(func() {
			again, failed := w.serve(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			more = more || again
			if failed != nil {
				err = failed
			}
		})
	}
	group.Wait()
	return more, next, err
}

// isReady tells whether a webhook may post and has something to post; wait is how long until that may change by itself.
func isReady(tx *store.Tx, hook *storagev1.Webhook) (ready bool, wait time.Duration, err error) {
	shown := hook.GetShown()
	for _, until := range []*timestamppb.Timestamp{hook.GetLeasedUntil(), shown.GetPausedUntil()} {
		if wait := until.AsTime().Sub(tx.Now()); until != nil && wait > 0 {
			return false, wait, nil
		}
	}
	if shown.GetEndedAt() != nil {
		return false, 0, nil
	}
	waiting := 0
	for retry, err := range store.Scan(tx, store.WebhookRetries(shown.GetId()), nil) {
		if err != nil {
			return false, 0, err
		}
		if waiting++; waiting == 1 { // By due time.
			if wait = retry.GetDueAt().AsTime().Sub(tx.Now()); wait <= 0 {
				return true, 0, nil
			}
		}
	}
	if waiting >= maxWaiting {
		return false, wait, nil
	}
	feed, err := store.Get(tx, store.FeedHeadKey())
	if err != nil {
		return false, 0, err
	}
	changes, err := store.Get(tx, store.TicketChangeHeadKey())
	ready = (shown.GetCompletions() && feed.GetSequence() > hook.GetCompletionSequence()) ||
		(shown.GetTicketChanges() && changes.GetSequence() > hook.GetChangeSequence())
	return ready, wait, err
}
