package store

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

const (
	// A step of a backfill is one transaction: so many records, or fewer of so many bytes, since each may be written once more.
	stepRecords = 100
	stepBytes   = MaxTransactionBytes / 8
	// stepRest is how many times as long as the step before it took it pauses between two, and leastRest how long at least: it takes its
	// share and no more beside a server's work, and less the busier the server is, since a step then waits longer itself.
	stepRest  = 9
	leastRest = 20 * time.Millisecond
	// stepRetry is how long it waits after a step that failed, as when the disk is full.
	stepRetry = time.Minute
	// toldEvery is after how many records the log hears of it.
	toldEvery = 10_000
)

// Backfill enters the records under prefix that were stored before an index was kept, each once, in the order of their keys: enter is
// given each of them in a transaction of a few, which remembers how far it has come. It goes on where an earlier one under the same
// name was broken off, and returns at once where one has come to its end; records that come meanwhile are the writer's own to enter, so
// enter must not mind one that is entered already. It returns when it is done or ctx ends, and then nil: what fails is told to the log and tried
// again. A record that cannot be read is left to Check.
func Backfill[T any, M message[T]](ctx context.Context, s *Store, log *slog.Logger, name string, prefix Prefix[T], enter func(*Tx, M) error) error {
	log = log.With("backfill", name)
	for told := uint64(0); ; {
		var state *storagev1.Backfill
		var entered bool
		began := time.Now() //nolint:forbidigo // How long the machine took, whatever time it is.
		err := s.Update(ctx, func(tx *Tx) (err error) {
			state, entered, err = backfillStep(tx, name, prefix, enter)
			return err
		})
		rest := max(leastRest, stepRest*time.Since(began)) //nolint:forbidigo // The same.
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // As it says: the next start goes on.
		case err != nil:
			log.WarnContext(ctx, "a step of a backfill failed and is tried again", "after", stepRetry, "error", err)
			rest = stepRetry
		case state.GetDoneAt() != nil:
			if entered || told > 0 {
				log.InfoContext(ctx, "backfill done", "records", state.GetRecords())
			}
			return nil
		case told == 0 || state.GetRecords() >= told+toldEvery:
			told = state.GetRecords()
			log.InfoContext(ctx, "backfill under way", "records", told)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
	}
}

// backfillStep enters the next few records. entered is false where there was none, or nothing was left to do.
func backfillStep[T any, M message[T]](tx *Tx, name string, prefix Prefix[T], enter func(*Tx, M) error) (state *storagev1.Backfill, entered bool, err error) {
	state, err = Get(tx, BackfillKey(name))
	if err != nil || state.GetDoneAt() != nil {
		return state, false, err
	}
	if state == nil {
		state = &storagev1.Backfill{}
	}
	var next []M
	read, size, more := 0, 0, false
	for pair, err := range tx.scan(prefix, state.GetAfter()) {
		if err != nil {
			return nil, false, err
		}
		if more = read == stepRecords || size >= stepBytes; more {
			break
		}
		read, size = read+1, size+len(pair.Key)+len(pair.Value)
		state.After = bytes.Clone(pair.Key)
		if record, err := decode[T, M](pair.Key, pair.Value); err == nil {
			next = append(next, record)
		}
	}
	for _, record := range next {
		if err := enter(tx, record); err != nil {
			return nil, false, err
		}
	}
	state.Records += uint64(read)
	if !more {
		state.DoneAt = tx.Timestamp()
	}
	return state, read > 0, Put(tx, BackfillKey(name), state)
}
