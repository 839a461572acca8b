package sync

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

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
	watcher, err := e.newWatcher(ctx)
	if err != nil {
		return err
	}
	scope := watcher.scope
	at, err := decodeCursor(req.GetCursor())
	if err != nil {
		return err
	}
	if err := e.confirm(ctx, watcher.caller.DeviceID, scope, e.heldBy(at, scope), false); err != nil {
		return err
	}
	deltas := watchedDeltas{engine: e, scope: scope, at: at, budget: req.GetDeltaBytes(), off: len(req.GetCursor()) == 0}
	wake, stop := e.store.Subscribe(scope.Topic())
	defer stop()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		if err := watcher.check(ctx); err != nil {
			return err
		}
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

// watcher is whoever waits, as the call found them.
type watcher struct {
	engine *Engine
	caller auth.Principal
	scope  store.Scope
}

func (e *Engine) newWatcher(ctx context.Context) (watcher, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return watcher{}, err
	}
	scope, err := p.Scope()
	return watcher{e, p, scope}, err
}

// check sees to it, before each message, that the caller may still hear of the scope: a device may be revoked, and a member
// may move to another crew, while a call waits.
func (w watcher) check(ctx context.Context) error {
	var now auth.Principal
	err := w.engine.store.View(ctx, func(tx *store.Tx) (err error) {
		now, err = w.caller.Reload(tx)
		return err
	})
	if err != nil {
		return err
	}
	if scope, err := now.Scope(); err != nil || scope != w.scope {
		return fault.New(fault.Unavailable, "scope_moved",
			"Phạm vi của bạn vừa thay đổi; hãy đồng bộ rồi kết nối lại.", "Your scope has just changed: sync, then connect again.")
	}
	return nil
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
		return &fieldsyncv1.WatchResponse{Head: publicHead(head), ServerTime: d.engine.serverTime()}, err
	}
	budget := d.budget
	if budget == 0 {
		budget = defaultPushedBytes
	}
	delta, to, err := d.engine.pull(ctx, d.scope, d.at, budget)
	if err != nil {
		return nil, err
	}
	resp := &fieldsyncv1.WatchResponse{Head: delta.GetHead(), ServerTime: delta.GetServerTime()}
	switch {
	case delta.GetReset_() || delta.GetMore() || proto.Size(delta) > 2*int(budget):
		d.off = true // What follows would not fit what the replica holds: it has to sync.
	case len(delta.GetTasks())+len(delta.GetRemovals()) > 0:
		resp.Delta = delta
		d.at = to
	}
	return resp, nil
}

// AwaitChange implements the RPC of that name.
func (e *Engine) AwaitChange(ctx context.Context, req *fieldsyncv1.AwaitChangeRequest) (*fieldsyncv1.AwaitChangeResponse, error) {
	watcher, err := e.newWatcher(ctx)
	if err != nil {
		return nil, err
	}
	scope := watcher.scope
	wake, stop := e.store.Subscribe(scope.Topic())
	defer stop()
	wait := time.Duration(req.GetWaitSeconds()) * time.Second
	if wait == 0 {
		wait = defaultPoll
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for waiting := true; ; {
		if err := watcher.check(ctx); err != nil {
			return nil, err
		}
		head, err := e.head(ctx, scope)
		if err != nil {
			return nil, err
		}
		if head.GetSequence() != req.GetSequence() || !waiting {
			return &fieldsyncv1.AwaitChangeResponse{Head: publicHead(head), ServerTime: e.serverTime()}, nil
		}
		// The replica stands at the head: it knows every order up to there.
		if err := e.confirm(ctx, watcher.caller.DeviceID, scope, req.GetSequence(), false); err != nil {
			return nil, err
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
