package webhook

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/store"
)

const (
	// patience is how many failures in a row a webhook may have before it pauses as a whole: one event that the receiver cannot
	// take shall not look like a receiver that is down.
	patience = 3
	// maxRest is the longest of those pauses: so long after it is up again, a receiver hears from us at the latest.
	maxRest = 30 * time.Minute
)

// job is an event to be posted and where it stands in its log.
type job struct {
	event *event
	retry *storagev1.WebhookRetry // With attempts 0 at the first try.
	// outcome of the post; nil where it was taken.
	outcome *outcome
}

// serve posts a batch for one webhook. again: it has more, which isReady decides about.
func (w *Worker) serve(ctx context.Context, id string) (again bool, err error) {
	var hook *storagev1.Webhook
	var jobs []*job
	err = w.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		hook = nil
		found, err := store.Get(tx, store.WebhookKey(id))
		if err != nil || found == nil {
			return err
		}
		if ready, _, err := isReady(tx, found); err != nil || !ready {
			return err
		}
		hook = found
		hook.LeasedUntil = timestamppb.New(tx.Now().Add(lease))
		return store.Put(tx, store.WebhookKey(id), hook)
	})
	if err != nil || hook == nil {
		return false, err
	}
	if err := w.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		jobs, err = w.collect(tx, hook)
		return err
	}); err != nil {
		return false, err // The lease runs out.
	}
	collected := len(jobs)
	jobs = w.postAll(ctx, hook, jobs)
	// What was posted was posted, though the server is about to stop: the place is written down all the same.
	err = w.o.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return settle(tx, hook, jobs) })
	for _, j := range jobs {
		if j.outcome != nil {
			w.o.Log.WarnContext(ctx, "webhook failed", "webhook", id, "event", j.event.ID, "attempt", j.retry.GetAttempts()+1, "reason", j.outcome.why)
		}
	}
	return err == nil && (collected >= batch || len(jobs) < collected), err
}

// collect takes what is due to be repeated, and then what is new, as long as not too much waits already.
func (w *Worker) collect(tx *store.Tx, hook *storagev1.Webhook) (jobs []*job, err error) {
	waiting := 0
	for retry, err := range store.Scan(tx, store.WebhookRetries(hook.GetShown().GetId()), nil) {
		if err != nil {
			return nil, err
		}
		if waiting++; retry.GetDueAt().AsTime().After(tx.Now()) || len(jobs) == batch {
			continue
		}
		e, err := w.event(tx, retry)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, &job{event: e, retry: retry})
	}
	room := func() bool { return len(jobs) < batch && waiting < maxWaiting }
	add := func(completion bool, sequence uint64) error {
		retry := &storagev1.WebhookRetry{Completion: completion, Sequence: sequence}
		e, err := w.event(tx, retry)
		jobs = append(jobs, &job{event: e, retry: retry})
		return err
	}
	if hook.GetShown().GetCompletions() {
		head, err := store.Get(tx, store.FeedHeadKey())
		if err != nil {
			return nil, err
		}
		for next := hook.GetCompletionSequence() + 1; next <= head.GetSequence() && room(); next++ {
			if err := add(true, next); err != nil {
				return nil, err
			}
		}
	}
	if hook.GetShown().GetTicketChanges() {
		head, err := store.Get(tx, store.TicketChangeHeadKey())
		if err != nil {
			return nil, err
		}
		for next := hook.GetChangeSequence() + 1; next <= head.GetSequence() && room(); next++ {
			if err := add(false, next); err != nil {
				return nil, err
			}
		}
	}
	return jobs, nil
}

func (w *Worker) event(tx *store.Tx, retry *storagev1.WebhookRetry) (*event, error) {
	if !retry.GetCompletion() {
		change, err := store.Get(tx, store.TicketChangeKey(retry.GetSequence()))
		if err != nil {
			return nil, err
		}
		return changeEvent(w.o.Source, change)
	}
	stub, err := store.Get(tx, store.FeedKey(retry.GetSequence()))
	if err != nil {
		return nil, err
	}
	completion, err := store.Get(tx, store.CompletionKey(stub.GetId()))
	if err != nil {
		return nil, err
	}
	return completionEvent(w.o.Source, completion)
}

// postAll posts in order until something fails, and returns the jobs that were tried. A receiver that is down is not asked fifty
// times; what was not tried is not older for it.
func (w *Worker) postAll(ctx context.Context, hook *storagev1.Webhook, jobs []*job) []*job {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	for i, j := range jobs {
		if ctx.Err() != nil {
			return jobs[:i]
		}
		if j.outcome = w.post(ctx, hook, j.event); j.outcome == nil {
			continue
		}
		if ctx.Err() != nil { // Cut off by ourselves: that says nothing of the receiver.
			j.outcome = nil
			return jobs[:i]
		}
		return jobs[:i+1]
	}
	return jobs
}

// settle writes down what the posts have come to. Who changed or replayed the webhook meanwhile has the last word about its places.
func settle(tx *store.Tx, began *storagev1.Webhook, jobs []*job) error {
	id := began.GetShown().GetId()
	hook, err := store.Get(tx, store.WebhookKey(id))
	if err != nil || hook == nil || !hook.GetLeasedUntil().AsTime().Equal(began.GetLeasedUntil().AsTime()) {
		return err
	}
	hook.LeasedUntil = nil
	completions := hook.GetCompletionSequence() == began.GetCompletionSequence()
	changes := hook.GetChangeSequence() == began.GetChangeSequence()
	for _, j := range jobs {
		switch {
		case j.retry.GetAttempts() > 0:
			if err := store.Delete(tx, retryKey(id, j.retry)); err != nil {
				return err
			}
		case j.retry.GetCompletion() && completions:
			hook.CompletionSequence = j.retry.GetSequence()
		case !j.retry.GetCompletion() && changes:
			hook.ChangeSequence = j.retry.GetSequence()
		default: // Replayed: it comes again anyway.
			continue
		}
		note(tx, hook, j)
		if j.outcome == nil {
			continue
		}
		if err := park(tx, id, j); err != nil {
			return err
		}
	}
	return store.Put(tx, store.WebhookKey(id), hook)
}

// note enters an outcome into what is shown of the webhook, and lets it rest where it fails again and again.
func note(tx *store.Tx, hook *storagev1.Webhook, j *job) {
	shown := hook.GetShown()
	if j.outcome == nil {
		hook.Failures, shown.DeliveredAt, shown.PausedUntil, shown.LastError = 0, tx.Timestamp(), nil, ""
		return
	}
	hook.Failures++
	shown.LastError = j.outcome.why
	rest := j.outcome.pause
	if over := int(hook.GetFailures()) - patience; over >= 0 {
		rest = max(rest, min(pauses[min(over, len(pauses)-1)], maxRest))
	}
	if rest > 0 {
		shown.PausedUntil = timestamppb.New(tx.Now().Add(rest))
	}
	if j.outcome.ended {
		shown.EndedAt = tx.Timestamp()
	}
}

// park keeps a post that failed for a later try, or aside where there is none left.
func park(tx *store.Tx, id string, j *job) error {
	retry := &storagev1.WebhookRetry{
		Completion: j.retry.GetCompletion(), Sequence: j.retry.GetSequence(),
		Attempts: j.retry.GetAttempts() + 1, FirstAt: j.retry.GetFirstAt(),
	}
	if retry.GetFirstAt() == nil {
		retry.FirstAt = tx.Timestamp()
	}
	if int(retry.GetAttempts()) > len(pauses) {
		return store.Put(tx, store.WebhookDeadKey(id, hotline.RetryList(retry), retry.GetSequence()), retry)
	}
	wait := max(pauses[retry.GetAttempts()-1], j.outcome.pause)
	retry.DueAt = timestamppb.New(tx.Now().Add(wait))
	return store.Put(tx, retryKey(id, retry), retry)
}

func retryKey(id string, retry *storagev1.WebhookRetry) store.Key[storagev1.WebhookRetry] {
	return store.WebhookRetryKey(id, retry.GetDueAt().AsTime(), hotline.RetryList(retry), retry.GetSequence())
}
