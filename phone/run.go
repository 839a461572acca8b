package phone

import (
	"context"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Run keeps the phone in sync until ctx ends, and then returns nil: it syncs, uploads, waits for a change on either side,
// and begins again; after a failure it waits with jitter, or as long as the server asks for. Only what no repeat can mend
// ends it: a phone that is not enrolled or that the server has locked out.
func (p *Phone) Run(ctx context.Context) error {
	retry, photoRetry := p.retry, p.retry
	for {
		err := p.round(ctx, &photoRetry)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // The end that the caller asked for.
		}
		if err == nil {
			// Only now: where syncs succeed and streams die at once, the phone must not sync every second.
			retry.Reset()
			continue
		}
		if kind := fault.KindOf(err); kind == fault.Unauthenticated || kind == fault.Denied {
			return err
		}
		p.log.InfoContext(ctx, "not in sync", "error", err)
		// What is recorded meanwhile is no reason to come earlier: the server is away or has asked for peace.
		if retry.Wait(ctx, retryAfter(err)) != nil {
			return nil //nolint:nilerr // As above.
		}
	}
}

// round syncs, uploads and waits until there is reason for another.
func (p *Phone) round(ctx context.Context, photoRetry *backoff) error {
	select {
	case <-p.recorded: // What was recorded before this sync goes with it.
	default:
	}
	report, err := p.Sync(ctx)
	if report.Calls > 0 {
		p.log.InfoContext(ctx, "synced", "sent", report.Sent, "changed", report.Changed, "removed", report.Removed, "reset", report.Reset)
	}
	if err != nil {
		return err
	}
	// A photo that does not get through must not keep the phone from hearing of changes: it is tried again beside the watch.
	var again <-chan time.Time
	if err := p.Upload(ctx, nil); err != nil {
		timer := time.NewTimer(photoRetry.Next(retryAfter(err)))
		defer timer.Stop()
		again = timer.C
	} else {
		photoRetry.Reset()
	}
	watchCtx, cancel := context.WithCancel(ctx)
	var watchErr error
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchErr = p.watch(watchCtx, false)
	}()
	select {
	case <-watched:
		cancel()
		return watchErr
	case <-p.recorded:
	case <-again:
	}
	cancel()
	<-watched // The goroutine has ended when round does.
	return nil
}
