package phone

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

// Watch blocks until the scope has changed on the server, and then returns nil: a small change that came along is in the
// replica already, for any other there is something to sync. It uses a stream, or a long poll where streams do not live
// (Status.Watching tells which). When the connection breaks, that is an error (Unavailable); call again after a while, or
// leave all of it to Run.
func (p *Phone) Watch(ctx context.Context) error { return p.watch(ctx, true) }

// watch blocks until there is something to sync; with once, also until a pushed delta has brought something.
func (p *Phone) watch(ctx context.Context, once bool) error {
	for {
		var st *state
		if err := p.view(func(_ *bolt.Tx, s *state) error { st = s; return nil }); err != nil {
			return err
		}
		switch {
		case st.DeviceID == "":
			return errNotEnrolled()
		case st.Revoked:
			return errRevoked()
		case st.Head == nil, p.leaseDue(st):
			return nil
		}
		var err error
		if p.way(st) == WayPoll {
			err = p.poll(ctx, st.Head)
		} else {
			err = (&watchStream{phone: p, at: st.Cursor, once: once}).watch(ctx)
		}
		if !errors.Is(err, errWatchOn) {
			return err
		}
	}
}

// errWatchOn: the stream or poll is over, and nothing speaks against another.
var errWatchOn = errors.New("watch on")

// errSilent ends a stream that says nothing.
var errSilent = errors.New("the watch stream is silent")

// watchStream is one stream.
type watchStream struct {
	phone *Phone
	// at is where the server believes the replica to stand.
	at   []byte
	once bool
	// messages counts what came: the head at once, then changes and keep-alives.
	messages int
}

// watch opens the stream and follows it to its end. nil: there is something to sync, or once was asked for and something came.
func (s *watchStream) watch(ctx context.Context) error {
	p := s.phone
	silent := false
	err := p.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		streamCtx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		silence := time.AfterFunc(p.patience.first, func() { cancel(errSilent) })
		defer silence.Stop()
		client := fieldsyncv1connect.NewSyncServiceClient(p.http, server, clientOptions()...)
		stream, err := client.Watch(withBearer(streamCtx, bearer), &fieldsyncv1.WatchRequest{Cursor: s.at})
		if err != nil {
			silent = errors.Is(context.Cause(streamCtx), errSilent)
			return callFault(ctx, err)
		}
		defer func() { _ = stream.Close() }() // What matters was read.
		for stream.Receive() {
			silence.Stop() // Not while a sync beside the stream is waited for.
			s.messages++
			if done, err := s.hear(ctx, stream.Msg()); done || err != nil {
				return err
			}
			silence.Reset(p.patience.silence)
		}
		silent = errors.Is(context.Cause(streamCtx), errSilent)
		if err := callFault(ctx, stream.Err()); err != nil {
			return err
		}
		return unreachable(errors.New("the watch stream ended"))
	})
	if fault.CodeOf(err) != "server_unreachable" {
		return err // Also what the server has to say, such as that it shuts down.
	}
	return s.died(ctx, silent, err)
}

// hear takes a message. It reports done where Watch has to return.
func (s *watchStream) hear(ctx context.Context, said *fieldsyncv1.WatchResponse) (done bool, err error) {
	p := s.phone
	if said.GetDelta() == nil {
		same, err := p.standsAt(said.GetHead())
		return !same, err
	}
	release, err := hold(ctx, p.syncing)
	if err != nil {
		return false, err
	}
	release = sync.OnceFunc(release)
	defer release()
	var held []byte
	if err := p.view(func(_ *bolt.Tx, st *state) error { held = st.Cursor; return nil }); err != nil {
		return false, err
	}
	switch {
	case bytes.Equal(held, said.GetDelta().GetCursor()):
		s.at = held // A sync beside the stream has brought the same.
		return false, nil
	case !bytes.Equal(held, s.at):
		return false, errWatchOn // Somebody has synced meanwhile: the delta builds on what is no more.
	}
	var report Report
	then, err := p.apply(&fieldsyncv1.SyncRequest{Cursor: s.at}, said.GetDelta(), &report)
	if err != nil {
		return false, err
	}
	s.at = said.GetDelta().GetCursor()
	p.log.InfoContext(ctx, "received", "changed", report.Changed, "removed", report.Removed)
	if s.once || then != nextNothing {
		return true, nil
	}
	if bringsOrder(said.GetDelta()) {
		release()
		// Nothing is lost where this fails: whatever the phone says next confirms the order too, only later.
		if _, err := p.Sync(ctx); err != nil {
			p.log.InfoContext(ctx, "an order could not be confirmed", "error", err)
		}
	}
	return false, nil
}

// died decides what follows from the end of a stream.
func (s *watchStream) died(ctx context.Context, silent bool, err error) error {
	p := s.phone
	if s.messages > 1 {
		p.deaths.Store(0) // It lived: the network may cut it now and then, but lets it through.
		return errWatchOn
	}
	deaths := p.deaths.Add(1)
	p.log.InfoContext(ctx, "a watch stream died young", "silent", silent, "deaths", deaths, "error", err)
	if silent || deaths >= maxDeaths {
		if err := p.preferPoll(); err != nil {
			return err
		}
		return errWatchOn
	}
	return err
}

func (p *Phone) standsAt(server *fieldsyncv1.ScopeHead) (same bool, err error) {
	err = p.view(func(_ *bolt.Tx, st *state) error {
		same = st.Head != nil && *st.Head == *headOf(server) && !p.leaseDue(st)
		return nil
	})
	return same, err
}
