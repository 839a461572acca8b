package embedded

import (
	"errors"
	"fmt"
	"math"

	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/journal"
)

// The writer is three goroutines in a row, each at work on another batch, so that processor and disk do not wait for each
// other:
//
//	run    runs what waits on top of all batches before, whether they are durable yet or not
//	sync   appends the batch to the journal: one fsync for all in it
//	apply  commits it in Badger, and only then answers those in it
//
// Batches keep their order in all three. One that is not kept takes those with it that may have read from it.

// run takes what waits, at least one transaction, and runs it.
func (e *Engine) run() {
	defer close(e.syncing)
	for first := range e.queue {
		b := e.newBatch()
		b.run(first)
		e.gather(b)
		b.end()
	}
}

// gather runs what waits, and what comes until the journal is free for the batch, and hands it over.
func (e *Engine) gather(b *batch) {
	for len(b.requests) < batchTransactions && b.size < batchBytes {
		select {
		case r, ok := <-e.queue:
			if ok {
				b.run(r)
				continue
			}
		default:
			select {
			case r, ok := <-e.queue:
				if ok {
					b.run(r)
					continue
				}
			case e.syncing <- b:
				return
			}
		}
		break // No more will come.
	}
	e.syncing <- b
}

// sync makes the batches durable, one after the other.
func (e *Engine) sync() {
	defer close(e.applying)
	for b := range e.syncing {
		if b.err = e.append(b); errors.Is(b.err, store.ErrOutcomeUnknown) {
			e.fail() // Before anybody hears of it.
		}
		e.applying <- b
	}
}

// append has the journal hold the writes of a batch. With ErrOutcomeUnknown nobody knows what is on the disk. With any other
// error nothing is kept.
func (e *Engine) append(b *batch) error {
	if e.hasFailed() {
		return errStopped
	}
	for _, before := range b.before {
		if before.err != nil {
			return before.err // What it read there is not going to be.
		}
	}
	if b.pending.Len() == 0 {
		return nil
	}
	if err := e.space.check(); err != nil {
		return err
	}
	sequence := e.journal.Last() + 1
	e.record = b.encode(e.record[:0], e.options.Clock(), e.journal.Sum())
	// Badger may refuse the batch, so it is asked before the journal has it.
	b.toBadger = e.db.NewTransactionAt(math.MaxUint64, true)
	err := b.flush(b.toBadger)
	if err == nil {
		err = setPosition(b.toBadger, e.journal.ID(), sequence, journal.Sum(e.record))
	}
	if err != nil {
		return fmt.Errorf("store: nothing of the batch was kept: %w", err)
	}
	// The journal returns after its fsync. Before this line a crash loses all of the batch, after it none; nobody has been
	// told anything yet.
	if _, err := e.journal.Append(e.record); err != nil {
		return e.refused(err)
	}
	e.space.wrote()
	b.sequence = sequence
	return nil
}

// refused says what the journal's error means for the batch.
func (e *Engine) refused(err error) error {
	switch {
	case errors.Is(err, journal.ErrOutcomeUnknown):
		return fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err)
	case noRoom(err):
		return e.space.full(err)
	default:
		return fmt.Errorf("store: nothing of the batch was kept: %w", err)
	}
}

// apply puts the batches into Badger, one after the other, and answers those in them.
func (e *Engine) apply() {
	defer close(e.stopped)
	for b := range e.applying {
		err := e.commit(b)
		if errors.Is(err, store.ErrOutcomeUnknown) {
			e.fail() // Before anybody hears of it.
		}
		e.versions.settle(b)
		for _, r := range b.requests {
			if err != nil {
				// Even a transaction that failed by itself may have failed because of something that it read from another one.
				r.err, r.pan = err, nil
			}
			close(r.done)
		}
	}
}

// commit commits in Badger what the journal holds of a batch. With ErrOutcomeUnknown the journal has it and Badger has not:
// opening again settles that.
func (e *Engine) commit(b *batch) error {
	if b.toBadger != nil {
		defer b.toBadger.Discard()
	}
	switch failed := e.hasFailed(); {
	case b.err != nil:
		return b.err
	case failed && b.sequence == 0:
		return errStopped // It has written nothing, but may have read what nobody knows the fate of.
	case failed:
		return fmt.Errorf("%w: the journal has record %d, Badger has not", store.ErrOutcomeUnknown, b.sequence)
	case b.sequence == 0:
		return nil
	}
	version := e.versions.newest() + 1
	if err := b.toBadger.CommitAt(version, nil); err != nil {
		return fmt.Errorf("%w: the journal has record %d, Badger has not: %w", store.ErrOutcomeUnknown, b.sequence, err)
	}
	e.backMemoryTable()
	e.applied.Store(b.sequence)
	e.cache.write(&b.pending, version)
	// Nobody reads before this version any more than what still reads now does.
	e.db.SetDiscardTs(e.versions.advance(version))
	select {
	case e.tend <- struct{}{}:
	default:
	}
	return nil
}

// fail has everything refused from now on.
func (e *Engine) fail() { e.failOnce.Do(func() { close(e.failed) }) }

func (e *Engine) hasFailed() bool {
	select {
	case <-e.failed:
		return true
	default:
		return false
	}
}
