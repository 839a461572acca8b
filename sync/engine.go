// Package sync is the engine between phones and the store: it takes the outbox of a phone, judges each mutation once
// (push.go, merge.go), and answers with what has changed in the phone's scope (pull.go, delta.go). The rest of a mutation's
// life happens in the rooms beside it: auth has said who calls, store makes it durable.
//
// The package's name is the standard library's too: it is imported under the alias syncengine.
package sync

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// statusEvery is how often a device that only reads has its status stored, if it says nothing new.
const statusEvery = 5 * time.Minute

// Options are what an Engine needs.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Claim takes down a completion in the transaction of the mutation that made it. The task's completion facet is set;
	// Claim fills in its id and seals it if nothing is missing.
	Claim func(tx *store.Tx, record *storagev1.TaskRecord, by auth.Principal, revision uint64) error
}

// Engine serves fieldsync.v1.SyncService. All methods are safe for concurrent use.
type Engine struct {
	store    *store.Store
	log      *slog.Logger
	claim    func(*store.Tx, *storagev1.TaskRecord, auth.Principal, uint64) error
	validate protovalidate.Validator
	draining chan struct{}
}

var _ fieldsyncv1connect.SyncServiceHandler = (*Engine)(nil)

// New makes an Engine.
func New(o Options) (*Engine, error) {
	validate, err := protovalidate.New(protovalidate.WithMessages(&fieldsyncv1.Mutation{}))
	if err != nil {
		return nil, fmt.Errorf("compiling the rules of mutations: %w", err)
	}
	return &Engine{store: o.Store, log: o.Log, claim: o.Claim, validate: validate, draining: make(chan struct{})}, nil
}

// Drain ends all streams and long polls, so that a server can stop. Call it once.
func (e *Engine) Drain() { close(e.draining) }

// Sync implements the RPC of that name.
func (e *Engine) Sync(ctx context.Context, req *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	scope, err := p.Scope()
	if err != nil {
		return nil, err
	}
	// A cursor that is no cursor must not be found out after the push has taken effect.
	from, err := decodeCursor(req.GetCursor())
	if err != nil {
		return nil, err
	}
	verdicts, err := e.push(ctx, p, req)
	if err != nil {
		return nil, err
	}
	resp, err := e.pull(ctx, scope, from, req.GetBudgetBytes())
	if err != nil {
		return nil, err
	}
	resp.Verdicts = verdicts
	return resp, e.noteStatus(ctx, p, req, from)
}

// noteStatus keeps what the device says of itself, if it is new or the last word is old: a phone that only reads must not
// cost a write each time.
func (e *Engine) noteStatus(ctx context.Context, p auth.Principal, req *fieldsyncv1.SyncRequest, from cursor) error {
	status := &storagev1.DeviceStatus{
		SeenAt: timestamppb.New(e.store.Now()), Queue: req.GetQueue(), AppVersion: req.GetAppVersion(),
		CursorSequence: from.sequence, Clock: req.GetClock(),
	}
	var last *storagev1.DeviceStatus
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		last, err = store.Get(tx, store.DeviceStatusKey(p.DeviceID))
		return err
	})
	if err != nil {
		return err
	}
	known := proto.Equal(last.GetQueue(), status.GetQueue()) && last.GetAppVersion() == status.GetAppVersion()
	if known && status.GetSeenAt().AsTime().Sub(last.GetSeenAt().AsTime()) < statusEvery {
		return nil
	}
	return e.store.Update(ctx, func(tx *store.Tx) error {
		return store.Put(tx, store.DeviceStatusKey(p.DeviceID), status)
	})
}
