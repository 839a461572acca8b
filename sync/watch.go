package sync

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// keepAlive is how often an idle watch stream says that it lives: below the minute after which carriers' NATs forget it.
	keepAlive = 30 * time.Second
	// defaultPoll is how long a long poll waits where the phone does not say.
	defaultPoll = 30 * time.Second
	// defaultPushedBytes is how large a delta a stream carries where the phone does not say.
	defaultPushedBytes = 2 << 10
)

// Watch implements the RPC of that name.
func (e *Engine) Watch(ctx context.Context, req *fieldsyncv1.WatchRequest, stream *connect.ServerStream[fieldsyncv1.WatchResponse]) error {
	scope, err := callerScope(ctx)
	if err != nil {
		return err
	}
	at, err := decodeCursor(req.GetCursor())
	if err != nil {
		return err
	}
	deltas := watchedDeltas{engine: e, scope: scope, at: at, budget: req.GetDeltaBytes(), off: len(req.GetCursor()) == 0}
	wake, stop := e.store.Subscribe(scope.Topic())
	defer stop()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		resp, err := deltas.next(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		select {
		case <-wake:
		case <-alive.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.draining:
			return fault.New(fault.Unavailable, "shutting_down",
				"Máy chủ đang khởi động lại; hãy kết nối lại.", "The server is restarting; connect again.")
		}
	}
}

// watchedDeltas is what a stream knows of the replica at its other end.
type watchedDeltas struct {
	engine *Engine
	scope  store.Scope
	at     cursor
	budget uint32
	// off: the replica's cursor is not known, or it has been left behind by a delta that was too large.
	off bool
}

// next makes the stream's next message: the head, and what changed since the last one where that is small.
func (d *watchedDeltas) next(ctx context.Context) (*fieldsyncv1.WatchResponse, error) {
	if d.off {
		head, err := d.engine.head(ctx, d.scope)
		return &fieldsyncv1.WatchResponse{Head: publicHead(head), ServerTime: timestamppb.New(d.engine.store.Now())}, err
	}
	budget := d.budget
	if budget == 0 {
		budget = defaultPushedBytes
	}
	delta, err := d.engine.pull(ctx, d.scope, d.at, budget)
	if err != nil {
		return nil, err
	}
	resp := &fieldsyncv1.WatchResponse{Head: delta.GetHead(), ServerTime: delta.GetServerTime()}
	switch {
	case delta.GetReset_() || delta.GetMore() || proto.Size(delta) > 2*int(budget):
		d.off = true // What follows would not fit what the replica holds: it has to sync.
	case len(delta.GetTasks())+len(delta.GetRemovals()) > 0:
		resp.Delta = delta
		d.at, err = decodeCursor(delta.GetCursor())
	}
	return resp, err
}

// AwaitChange implements the RPC of that name.
func (e *Engine) AwaitChange(ctx context.Context, req *fieldsyncv1.AwaitChangeRequest) (*fieldsyncv1.AwaitChangeResponse, error) {
	scope, err := callerScope(ctx)
	if err != nil {
		return nil, err
	}
	wake, stop := e.store.Subscribe(scope.Topic())
	defer stop()
	wait := time.Duration(req.GetWaitSeconds()) * time.Second
	if wait == 0 {
		wait = defaultPoll
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for waiting := true; ; {
		head, err := e.head(ctx, scope)
		if err != nil {
			return nil, err
		}
		if head.GetSequence() != req.GetSequence() || !waiting {
			return &fieldsyncv1.AwaitChangeResponse{Head: publicHead(head), ServerTime: timestamppb.New(e.store.Now())}, nil
		}
		select {
		case <-wake:
		case <-over.C:
			waiting = false
		case <-e.draining:
			waiting = false
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (e *Engine) head(ctx context.Context, scope store.Scope) (head *storagev1.ScopeHead, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		head, err = store.Head(tx, scope)
		return err
	})
	return head, err
}

func callerScope(ctx context.Context) (store.Scope, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return "", err
	}
	return p.Scope()
}
