// Package store keeps the house's records in ordered transactions. It knows how records are laid out (keys.go), how a
// change enters the logs of the scopes that must hear of it (scopelog.go, task.go), and how work for the outside waits in
// the outbox (outbox.go). Which engine holds the bytes lies behind Engine; package embedded is the one over Badger.
package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

const (
	// format is the version of the layout that this code writes. In 2 the places of tasks in the logs of their scopes moved into
	// their records: what reads only 1 would enter a task twice.
	format = 2
	// oldestFormat is the oldest that it reads. A store of it is one of format from then on; its records change as they are
	// written.
	oldestFormat = 1
)

// Store is an Engine with records, a clock and signals. All methods but RenewEpoch are safe for concurrent use.
type Store struct {
	engine Engine
	clock  func() time.Time
	random io.Reader
	meta   *storagev1.Meta
	hub    hub
}

// Options are what tests and simulations replace. The zero value is right for a server.
type Options struct {
	// Clock tells the time. time.Now by default.
	Clock func() time.Time
	// Random gives the bytes of ids, epochs and secrets. crypto/rand by default.
	Random io.Reader
}

// Open puts a Store over engine, which Close closes; where Open fails the engine stays open and the caller's. An empty
// engine is made a store: that is durable when Open returns.
func Open(ctx context.Context, engine Engine, o Options) (*Store, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	s := &Store{engine: engine, clock: o.Clock, random: o.Random}
	err := s.Update(ctx, func(tx *Tx) error {
		meta, err := Get(tx, MetaKey())
		if s.meta = meta; err != nil {
			return err
		}
		if meta != nil {
			if meta.GetFormat() < oldestFormat || meta.GetFormat() >= format {
				return nil
			}
			meta.Format = format
			return Put(tx, MetaKey(), meta)
		}
		epoch, err := tx.randomUint32()
		if err != nil {
			return err
		}
		s.meta = &storagev1.Meta{Format: format, ServerEpoch: epoch | 1, CreatedAt: timestamppb.New(tx.Now())}
		return Put(tx, MetaKey(), s.meta)
	})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if s.meta.GetFormat() != format {
		return nil, fmt.Errorf("the store has format %d, this version reads %d: use the version that wrote it", s.meta.GetFormat(), format)
	}
	return s, nil
}

// ServerEpoch tells this store from the one it was before a restore. Never 0.
func (s *Store) ServerEpoch() uint32 { return s.meta.GetServerEpoch() }

const (
	// maxLostSpans bounds the restores that a store remembers.
	maxLostSpans = 16
	// lostSlack is how much older than its record a transaction may be that the record holds.
	lostSlack = time.Minute
)

// RenewEpoch makes this store another one than it was: after a restore, what phones and the hotline have read may be ahead of
// what it holds, and the epoch tells them so. kept is the commit time of the newest record that was restored: what came after it may
// be lost. It is durable when RenewEpoch returns. Nobody else may use the store meanwhile.
func (s *Store) RenewEpoch(ctx context.Context, kept time.Time) error {
	return s.Update(ctx, func(tx *Tx) error {
		meta, err := Get(tx, MetaKey())
		if err != nil {
			return err
		}
		for before := meta.GetServerEpoch(); meta.GetServerEpoch() == before; {
			epoch, err := tx.randomUint32()
			if err != nil {
				return err
			}
			meta.ServerEpoch = epoch | 1
		}
		lost := append(meta.GetLost(), &storagev1.LostSpan{From: timestamppb.New(kept.Add(-lostSlack)), Until: tx.Timestamp()})
		meta.Lost = lost[max(0, len(lost)-maxLostSpans):]
		s.meta = meta
		return Put(tx, MetaKey(), meta)
	})
}

// MayHaveLost tells whether what happened at a time or later may be among what a restore has lost that is not longer ago than
// memory.
func (s *Store) MayHaveLost(at time.Time, memory time.Duration) bool {
	for _, lost := range s.meta.GetLost() {
		if !at.Before(lost.GetFrom().AsTime()) && !s.Now().After(lost.GetUntil().AsTime().Add(memory)) {
			return true
		}
	}
	return false
}

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.clock().UTC() }

// companionKey is under which a context carries what goes along with its transactions.
type companionKey struct{}

// WithCompanion returns a context under which each Update runs fn, too, in the same transaction and behind the function that it was
// called with: what fn writes is kept with what that one has written, or neither is. For a record of who did it, that no room can
// forget. Like any function in a transaction fn may run more than once.
func WithCompanion(ctx context.Context, fn func(*Tx) error) context.Context {
	return context.WithValue(ctx, companionKey{}, fn)
}

// Update runs fn in a read-write transaction: see Engine. Whoever subscribed to what fn signals is woken after the commit.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	var signals map[string]struct{}
	err := s.engine.Update(ctx, func(kv KV) error {
		// A rerun starts from nothing: what the run before signalled was discarded with its writes.
		tx := s.begin(kv)
		tx.seen, tx.heads = make(map[string]*[]byte, seenAtOnce), make(map[Scope]*storagev1.ScopeHead)
		if err := fn(tx); err != nil {
			return err
		}
		if companion, ok := ctx.Value(companionKey{}).(func(*Tx) error); ok {
			if err := companion(tx); err != nil {
				return err
			}
		}
		signals = tx.signals
		return tx.putHeads()
	})
	if err != nil {
		return err
	}
	for topic := range signals {
		s.hub.publish(topic)
	}
	return nil
}

// View runs fn over one snapshot: see Engine.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.engine.View(ctx, func(kv KV) error { return fn(s.begin(kv)) })
}

// Failed is closed when the engine can no longer tell what is durable: see Engine.
func (s *Store) Failed() <-chan struct{} { return s.engine.Failed() }

// Close closes the engine.
func (s *Store) Close() error { return s.engine.Close() }

func (s *Store) begin(kv KV) *Tx {
	return &Tx{kv: kv, now: s.Now(), random: s.random}
}

// Tx is a transaction over records. It is valid until the function that got it returns, and for one goroutine.
type Tx struct {
	kv      KV
	now     time.Time
	random  io.Reader
	signals map[string]struct{}
	// seen is what a read-write transaction has read so far, as it has written it since: a task that is loaded by one function and
	// compared by another is fetched once. Nil in a View, which reads each key once.
	seen map[string]*[]byte
	// heads are those of the scopes whose logs have grown in a read-write transaction. Each is written once, at its end: ten changes of
	// one batch raise a head ten times.
	heads map[Scope]*storagev1.ScopeHead
}

// seenAtOnce is for how many keys there is room at first: what a batch of ten mutations touches.
const seenAtOnce = 64

// Now is the time of the transaction: one and the same in all of it, in UTC.
func (tx *Tx) Now() time.Time { return tx.now }

// Timestamp is Now as a record holds it.
func (tx *Tx) Timestamp() *timestamppb.Timestamp { return timestamppb.New(tx.now) }

// Signal wakes the subscribers of topic after the commit, and nobody if there is none.
func (tx *Tx) Signal(topic string) {
	if tx.signals == nil {
		tx.signals = make(map[string]struct{})
	}
	tx.signals[topic] = struct{}{}
}

// Random fills b with random bytes.
func (tx *Tx) Random(b []byte) error {
	if _, err := io.ReadFull(tx.random, b); err != nil {
		return fmt.Errorf("reading random bytes: %w", err)
	}
	return nil
}

func (tx *Tx) randomUint32() (uint32, error) {
	var b [4]byte
	err := tx.Random(b[:])
	return binary.BigEndian.Uint32(b[:]), err
}
