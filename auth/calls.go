package auth

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

const (
	// accessTopic is signalled when somebody has lost a right that a call under way may rest on.
	accessTopic = "auth/access"
	// accessEvery is how often a node looks whether another one has taken a right away: well below the second within which
	// open streams have to end.
	accessEvery = 400 * time.Millisecond
	// partingTime is how long a call that has lost its right may take to write its last answer.
	partingTime = 500 * time.Millisecond
)

// calls are the requests under way of known devices: streams and uploads last, and must end when the right to them does. The
// zero value is empty and ready. Safe for concurrent use.
type calls struct {
	mu    sync.Mutex
	alive map[*call]struct{}
}

// basis is what a call under way rests on: that this caller may make that call.
type basis struct {
	by   Principal
	path string
}

// call is a request under way.
type call struct {
	basis

	cancel  context.CancelCauseFunc
	control *http.ResponseController
	body    *watchedBody
	cut     bool
}

// watchedBody knows whether a request's body has been read to its end, and says why it ends early where its call was cut.
type watchedBody struct {
	io.ReadCloser

	ctx  context.Context //nolint:containedctx // Of the request whose body it is.
	log  *slog.Logger
	over atomic.Bool
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.over.Store(true)
	var why *fault.Error
	if !errors.Is(err, io.EOF) && errors.As(context.Cause(b.ctx), &why) {
		err = errors.Join(faultwire.Connect(b.ctx, b.log, why), why) // For RPCs, and for other faces.
	}
	return n, err
}

// begin enters a request under way, whose body is to be read through the call's.
func (c *calls) begin(by Principal, log *slog.Logger, cancel context.CancelCauseFunc, w http.ResponseWriter, r *http.Request) *call {
	one := &call{
		basis: basis{by, r.URL.Path}, cancel: cancel, control: http.NewResponseController(w),
		body: &watchedBody{ReadCloser: r.Body, ctx: r.Context(), log: log},
	}
	one.body.over.Store(r.Body == nil || r.Body == http.NoBody)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alive == nil {
		c.alive = make(map[*call]struct{})
	}
	c.alive[one] = struct{}{}
	return one
}

func (c *calls) end(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.alive, one)
	if one.cut {
		// A proxy may use the connection for somebody else's request next.
		_ = one.control.SetWriteDeadline(time.Time{})
	}
	one.cancel(nil)
}

// bases are what calls under way rest on.
func (c *calls) bases() map[basis]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[basis]struct{})
	for one := range c.alive {
		all[one.basis] = struct{}{}
	}
	return all
}

// cut ends the calls that rested on what is no more: their contexts end with the reason, a body that is being read ends at once, and
// a client that does not read gets little time for the last words.
func (c *calls) cut(lost basis, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.alive {
		if one.basis != lost || one.cut {
			continue
		}
		one.cut = true
		one.cancel(reason)
		// Where a connection cannot do it, the context has to suffice. Behind the body's end stands the next request, which must
		// not be hurt: the client's question why.
		if !one.body.over.Load() {
			_ = one.control.SetReadDeadline(time.Unix(1, 0))
		}
		_ = one.control.SetWriteDeadline(time.Now().Add(partingTime)) //nolint:forbidigo // The connection's clock, not the store's.
	}
}

// accessLost marks in the transaction that takes a right away that calls under way may rest on it.
func accessLost(tx *store.Tx) error {
	head, err := store.Get(tx, store.AccessHeadKey())
	if err != nil {
		return err
	}
	tx.Signal(accessTopic)
	return store.Put(tx, store.AccessHeadKey(), &storagev1.SequenceHead{Sequence: head.GetSequence() + 1})
}

// Moved marks in the transaction that gives a member another role, crew or unit that calls under way may rest on what it was.
func Moved(tx *store.Tx, was *fieldsyncv1.Member) error {
	before := Principal{Role: was.GetRole(), CrewID: was.GetCrewId(), UnitID: was.GetUnitId()}
	if scope, err := before.Scope(); err == nil {
		tx.Signal(scope.Topic()) // Whoever waits there looks at once whether the scope is still its own.
	}
	return accessLost(tx)
}

// Run ends calls under way whose device was revoked or handed on, whose caller has lost the role for them, or whose token's key is
// compromised, on this node or another, until ctx ends; it returns nil then. Without it they end at their next message.
func (s *Service) Run(ctx context.Context) error {
	wake, stop := s.st.Subscribe(accessTopic)
	defer stop()
	tick := time.NewTicker(accessEvery)
	defer tick.Stop()
	seen, again := uint64(0), false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-tick.C:
		}
		head, err := s.accessHead(ctx)
		if err != nil {
			continue // A store that fails ends the server; one that is closing ends ctx.
		}
		// Once more a tick later: a call may have read its right before the change and have been entered here after it.
		if head != seen || again {
			s.recheck(ctx)
		}
		seen, again = head, head != seen
	}
}

func (s *Service) accessHead(ctx context.Context) (sequence uint64, err error) {
	err = s.st.View(ctx, func(tx *store.Tx) error {
		head, err := store.Get(tx, store.AccessHeadKey())
		sequence = head.GetSequence()
		return err
	})
	return sequence, err
}

// recheck cuts the calls of those who may not go on. Of routes (uploads, downloads) the role is looked at when they are called: each is
// soon over.
func (s *Service) recheck(ctx context.Context) {
	for on := range s.calls.bases() {
		err := s.st.View(ctx, func(tx *store.Tx) error {
			now, err := on.by.Reload(tx)
			if roles, ok := rights[on.path]; ok && err == nil {
				err = now.reaches(on.path, roles)
			}
			return err
		})
		switch fault.KindOf(err) {
		case fault.Unauthenticated, fault.Denied:
			s.calls.cut(on, err)
		default:
		}
	}
}
