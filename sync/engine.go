// Package sync is the engine between phones and the store: it takes the outbox of a phone, judges each mutation once
// (push.go, merge.go), and answers with what has changed in the phone's scope (pull.go, delta.go). The rest of a mutation's
// life happens in the rooms beside it: auth has said who calls, store makes it durable.
//
// The package's name is the standard library's too: it is imported under the alias syncengine.
package sync

import (
	"context"
	"log/slog"
	stdsync "sync"
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
	// Reach tells how far the backup goes, with the journal's place at the time of the call: everything that was durable before is
	// at it or before it. Nil: answers say nothing of it.
	Reach func() *fieldsyncv1.BackupReach
	// Claim takes down a completion in the transaction of the mutation that made it. The task's completion facet is set;
	// Claim fills in its id and seals it if nothing is missing. said is what the mutation said.
	Claim func(tx *store.Tx, record *storagev1.TaskRecord, by auth.Principal, revision uint64, said *fieldsyncv1.Complete) error
	// CheckClaim tells whether what a device signed with a completion is what the mutation says, by its key. Nil: nobody checks.
	CheckClaim func(tx *store.Tx, by auth.Principal, m *fieldsyncv1.Mutation) (good bool, err error)
	// OfflineTime is the longest time that a phone may be offline: how long removals and verdicts are remembered.
	// DefaultOfflineTime where it is 0.
	OfflineTime time.Duration
	// PersonalLease is how long a phone may keep citizens' names and phone numbers after an answer. 0: without limit.
	PersonalLease time.Duration
	// Moved hears of each task whose state mutations have moved, in their transaction and before the task is saved. Nil: nobody
	// does.
	Moved func(tx *store.Tx, record *storagev1.TaskRecord) error
}

// Engine serves fieldsync.v1.SyncService. All methods are safe for concurrent use.
type Engine struct {
	store    *store.Store
	log      *slog.Logger
	reach    func() *fieldsyncv1.BackupReach
	claim    func(*store.Tx, *storagev1.TaskRecord, auth.Principal, uint64, *fieldsyncv1.Complete) error
	signed   func(*store.Tx, auth.Principal, *fieldsyncv1.Mutation) (bool, error)
	moved    func(*store.Tx, *storagev1.TaskRecord) error
	validate protovalidate.Validator
	offline  time.Duration
	draining chan struct{}
	tasks    taskMemory
	heard    heardStatuses
	lease    time.Duration
}

// heardStatuses is the last that each device said, by its id. Safe for concurrent use.
type heardStatuses struct{ byDevice stdsync.Map }

func (h *heardStatuses) load(device string) (heardStatus, bool) {
	value, _ := h.byDevice.Load(device)
	heard, ok := value.(heardStatus)
	return heard, ok
}

func (h *heardStatuses) put(device string, heard heardStatus) { h.byDevice.Store(device, heard) }

// heardStatus is what a device last said of itself, and when that or something like it was stored.
type heardStatus struct {
	status   *storagev1.DeviceStatus
	storedAt time.Time
}

var _ fieldsyncv1connect.SyncServiceHandler = (*Engine)(nil)

// New makes an Engine.
func New(o Options) (*Engine, error) {
	if o.CheckClaim == nil {
		o.CheckClaim = func(*store.Tx, auth.Principal, *fieldsyncv1.Mutation) (bool, error) { return true, nil }
	}
	if o.OfflineTime == 0 {
		o.OfflineTime = DefaultOfflineTime
	}
	if o.Reach == nil {
		o.Reach = func() *fieldsyncv1.BackupReach { return nil }
	}
	// The one that requests are checked with: rules are compiled once.
	return &Engine{
		store: o.Store, log: o.Log, claim: o.Claim, signed: o.CheckClaim, moved: o.Moved, validate: protovalidate.GlobalValidator,
		offline: o.OfflineTime, reach: o.Reach, lease: o.PersonalLease, draining: make(chan struct{}),
	}, nil
}

// Drain ends all streams and long polls, so that a server can stop. Call it once.
func (e *Engine) Drain() { close(e.draining) }

// Sync implements the RPC of that name.
func (e *Engine) Sync(ctx context.Context, req *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	dropImpossible(req.GetClock().ProtoReflect())
	dropImpossible(req.GetQueue().ProtoReflect())
	if p.Delivering {
		return e.deliver(ctx, p, req)
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
	status := &storagev1.DeviceStatus{
		SeenAt: timestamppb.New(e.store.Now()), Queue: req.GetQueue(), AppVersion: req.GetAppVersion(),
		CursorSequence: from.sequence, Clock: req.GetClock(),
	}
	verdicts, err := e.push(ctx, p, req, status)
	if err != nil {
		return nil, err
	}
	resp, at, err := e.pull(ctx, scope, from, req.GetBudgetBytes())
	if err != nil {
		return nil, err
	}
	resp.Verdicts, resp.Reach = verdicts, e.reach() // Behind all that the answer tells.
	status.AnsweredSequence = at.sequence
	if err := e.confirm(ctx, p.DeviceID, scope, e.heldBy(from, scope), req.GetWokenByPush()); err != nil {
		return nil, err
	}
	return resp, e.noteStatus(ctx, p.DeviceID, status, len(verdicts) > 0)
}

// deliver takes what a revoked device still has: each mutation is judged as always, by its number, and what is new goes into
// quarantine. The answer holds nothing but verdicts.
func (e *Engine) deliver(ctx context.Context, p auth.Principal, req *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	status := &storagev1.DeviceStatus{
		SeenAt: timestamppb.New(e.store.Now()), Queue: req.GetQueue(), AppVersion: req.GetAppVersion(), Clock: req.GetClock(),
	}
	verdicts, err := e.push(ctx, p, req, status)
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.SyncResponse{Verdicts: verdicts, ServerTime: e.serverTime()}, nil
}

// noteStatus keeps what the device says of itself. Each word is remembered in memory, for Explain; it is stored with the
// mutations of the call, or else if it says something new or the last stored one is old: a phone that only reads must not
// cost a write each time.
func (e *Engine) noteStatus(ctx context.Context, device string, status *storagev1.DeviceStatus, stored bool) error {
	heard := heardStatus{status: status, storedAt: status.GetSeenAt().AsTime()}
	if last, ok := e.heard.load(device); ok && !stored {
		said := proto.Equal(last.status.GetQueue(), status.GetQueue()) && last.status.GetAppVersion() == status.GetAppVersion()
		if said && heard.storedAt.Sub(last.storedAt) < statusEvery {
			heard.storedAt, stored = last.storedAt, true
		}
	}
	e.heard.put(device, heard)
	if stored {
		return nil
	}
	return e.store.Update(ctx, func(tx *store.Tx) error {
		return store.Put(tx, store.DeviceStatusKey(device), status)
	})
}
