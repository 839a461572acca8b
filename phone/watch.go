package phone

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

// watchIdle is how long a stream may be silent: three of the server's keep-alives.
const watchIdle = 90 * time.Second

// Watch returns nil as soon as the server's head of the scope is not the one that the replica stands at: there is something
// to sync. It blocks until then. When the stream ends before, as it does with the network, that is an error (Unavailable);
// call again after a while, or leave all of it to Run.
func (p *Phone) Watch(ctx context.Context) error {
	return p.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		streamCtx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		// A dead connection says nothing: the keep-alives tell it from a quiet one.
		idle := time.AfterFunc(watchIdle, func() { cancel(errors.New("the watch stream went silent")) })
		defer idle.Stop()
		client := fieldsyncv1connect.NewSyncServiceClient(p.http, server, clientOptions()...)
		stream, err := client.Watch(withBearer(streamCtx, bearer), &fieldsyncv1.WatchRequest{})
		if err != nil {
			return callFault(ctx, err)
		}
		defer func() { _ = stream.Close() }() // What matters was read.
		for stream.Receive() {
			idle.Reset(watchIdle)
			same, err := p.standsAt(stream.Msg().GetHead())
			if err != nil || !same {
				return err
			}
		}
		if err := callFault(ctx, stream.Err()); err != nil {
			return err
		}
		return unreachable(errors.New("the watch stream ended"))
	})
}

func (p *Phone) standsAt(server *fieldsyncv1.ScopeHead) (same bool, err error) {
	err = p.view(func(_ *bolt.Tx, st *state) error {
		same = st.Head != nil && *st.Head == *headOf(server)
		return nil
	})
	return same, err
}

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
func (p *Phone) round(ctx context.Context, photoRetry *Backoff) error {
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
		watchErr = p.Watch(watchCtx)
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
