// Package hotline is the face towards the 1022 system: it takes tickets in, lists sealed completions, and closes tickets
// whose completion has arrived there.
package hotline

import (
	"log/slog"
	"sync"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Service implements fieldsync.v1.HotlineService. It expects requests that protovalidate has passed and contexts that carry
// an auth.Principal whose role may call (auth's matrix). All methods are safe for concurrent use; what they have answered is
// durable.
type Service struct {
	store         *store.Store
	log           *slog.Logger
	delivered     func(*store.Tx, *storagev1.TaskRecord, *storagev1.Completion) error
	cancel        func(*store.Tx, *storagev1.TaskRecord, string, string) error
	router        Router
	plainWebhooks bool
	draining      chan struct{}
	drain         func()
}

var _ fieldsyncv1connect.HotlineServiceHandler = (*Service)(nil)

// Options are what a Service needs. All but Delivered and Router are required to serve.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Delivered takes down that a completion was acknowledged, in the transaction of the acknowledgement, which saves both
	// records.
	Delivered func(tx *store.Tx, record *storagev1.TaskRecord, completion *storagev1.Completion) error
	// Cancel calls a task off that has not ended, in the transaction that withdraws its ticket, and stores it: by this member and
	// for this reason.
	Cancel func(tx *store.Tx, record *storagev1.TaskRecord, member, reason string) error
	// Router tells where tickets belong that name no unit. Nil: all of them go to the city.
	Router Router
	// PlainWebhooks takes webhooks without TLS, for networks of the city's own.
	PlainWebhooks bool
}

// New makes a Service.
func New(o Options) *Service {
	draining := make(chan struct{})
	return &Service{
		store: o.Store, log: o.Log, delivered: o.Delivered, cancel: o.Cancel, router: o.Router, plainWebhooks: o.PlainWebhooks,
		draining: draining, drain: sync.OnceFunc(func() { close(draining) }),
	}
}

// Drain ends all streams and long polls, and those that come later at once: the server is about to stop, and waits for the
// calls under way. Safe to repeat.
func (s *Service) Drain() { s.drain() }
