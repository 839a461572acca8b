package main

import (
	"context"
	"errors"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

var (
	errDiskFull = fault.New(fault.Unavailable, "disk_full", "Máy chủ hết chỗ; hãy thử lại sau.", "The server's disk is full; try again later.")
	errRefused  = errors.New("simulated: the commit failed")
	errLost     = errors.New("simulated: the commit is lost")
)

// faulty is an engine whose commits may meet a fate. It stands over any engine, so that all of them fail alike.
type faulty struct {
	store.Engine

	// after is called behind each transaction that was kept.
	after func()
	// next is asked once for each transaction.
	next   func() fate
	failed chan struct{}
	// commits counts the transactions that may have written.
	commits int
	// dead: it does not know what is durable, or its process is gone. crashed: the latter.
	dead, crashed bool
}

func newFaulty(over store.Engine, next func() fate, after func()) *faulty {
	return &faulty{Engine: over, next: next, after: after, failed: make(chan struct{})}
}

// Failed implements store.Engine.
func (f *faulty) Failed() <-chan struct{} { return f.failed }

// View implements store.Engine.
func (f *faulty) View(ctx context.Context, fn func(store.KV) error) error {
	if f.dead {
		return store.ErrClosed
	}
	return f.Engine.View(ctx, fn)
}

// Update implements store.Engine.
func (f *faulty) Update(ctx context.Context, fn func(store.KV) error) error {
	if f.dead {
		return store.ErrClosed
	}
	f.commits++
	fate := f.next()
	switch fate {
	case committed:
		err := f.Engine.Update(ctx, fn)
		if err == nil {
			f.after()
		}
		return err
	case diskFull:
		return f.lose(ctx, fn, errDiskFull)
	case refused:
		return f.lose(ctx, fn, errRefused)
	case unknownKept, crashAfter:
		if err := f.Engine.Update(ctx, fn); err != nil {
			return err
		}
		f.after()
	default:
		if err := f.lose(ctx, fn, errLost); !errors.Is(err, errLost) {
			return err
		}
	}
	f.dead, f.crashed = true, fate == crashAfter || fate == crashBefore
	close(f.failed)
	return store.ErrOutcomeUnknown
}

// lose runs the transaction and takes it back with err.
func (f *faulty) lose(ctx context.Context, fn func(store.KV) error, err error) error {
	return f.Engine.Update(ctx, func(kv store.KV) error {
		if err := fn(kv); err != nil {
			return err
		}
		return err
	})
}
