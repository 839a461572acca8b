// Package hotline is the face towards the 1022 system: it takes tickets in, lists sealed completions, and closes tickets
// whose completion has arrived there.
package hotline

import (
	"log/slog"

	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Service implements fieldsync.v1.HotlineService. It expects requests that protovalidate has passed and contexts that carry
// an auth.Principal whose role may call (auth's matrix). All methods are safe for concurrent use; what they have answered is
// durable.
type Service struct {
	store *store.Store
	log   *slog.Logger
}

var _ fieldsyncv1connect.HotlineServiceHandler = (*Service)(nil)

// Options are what a Service needs. Both are required.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
}

// New makes a Service.
func New(o Options) *Service { return &Service{store: o.Store, log: o.Log} }
