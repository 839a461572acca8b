package hotline

import (
	"fmt"
	"iter"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// feed is one of the two lists of completions, each dense and in the order of the commits: of those that are sealed, and of the claims
// by which a ticket may be closed before that.
type feed struct {
	entries store.Prefix[storagev1.Completion]
	place   func(sequence uint64) store.Key[storagev1.Completion]
	head    store.Key[storagev1.SequenceHead]
	// acknowledged is up to where all is settled.
	acknowledged store.Key[storagev1.Acknowledged]
	// holds tells whether a completion stands in the feed.
	holds func(*storagev1.Completion) bool
	// listed tells whether it is still news.
	listed func(*storagev1.Completion) bool
	// settled tells whether it needs no acknowledgement, any more or at all.
	settled func(*storagev1.Completion) bool
	// at is when it came in.
	at func(*storagev1.Completion) time.Time
}

func seals() feed {
	return feed{
		entries: store.Feed(), place: store.FeedKey, head: store.FeedHeadKey(), acknowledged: store.FeedAcknowledgedKey(),
		holds: isSealed, listed: isSealed,
		settled: func(c *storagev1.Completion) bool { return c.GetDeliveredAt() != nil },
		at:      func(c *storagev1.Completion) time.Time { return c.GetSealedAt().AsTime() },
	}
}

func claims() feed {
	return feed{
		entries: store.ClaimFeed(), place: store.ClaimFeedKey, head: store.ClaimFeedHeadKey(), acknowledged: store.ClaimFeedAcknowledgedKey(),
		holds: func(c *storagev1.Completion) bool { return c.GetClaimSequence() > 0 }, listed: stands,
		settled: func(c *storagev1.Completion) bool { return c.GetClaimDeliveredAt() != nil || !stands(c) },
		at:      func(c *storagev1.Completion) time.Time { return c.GetAcceptedAt().AsTime() },
	}
}

func isSealed(c *storagev1.Completion) bool {
	return c.GetState() >= fieldsyncv1.ProofState_PROOF_STATE_SEALED
}

// stands tells whether a claim is the last word about its completion: the seal, or the reopening, has taken its place otherwise.
func stands(c *storagev1.Completion) bool { return !isSealed(c) && c.GetReopened() == nil }

// load returns a completion that stands in the feed. NotFound "completion_unknown".
func (f feed) load(tx *store.Tx, id string) (*storagev1.Completion, error) {
	completion, err := store.Get(tx, store.CompletionKey(id))
	if err != nil {
		return nil, err
	}
	if !f.holds(completion) {
		return nil, fault.New(fault.NotFound, "completion_unknown",
			fmt.Sprintf("Không có kết quả %q, hoặc chưa được niêm phong; chưa kết quả nào được xác nhận.", id),
			fmt.Sprintf("There is no completion %q, or it is not sealed yet; none was acknowledged.", id))
	}
	return completion, nil
}

// settledUpTo is up to where all of the feed is settled.
func (f feed) settledUpTo(tx *store.Tx) (uint64, error) {
	mark, err := store.Get(tx, f.acknowledged)
	return mark.GetSequence(), err
}

// reader walks a feed from behind a place, one entry ahead of whoever asks.
type reader struct {
	feed feed
	next func() (*storagev1.Completion, error, bool)
	// completion is the entry ahead, nil behind the last, and sequence its place.
	completion *storagev1.Completion
	sequence   uint64
}

// read begins to walk, behind what is settled if only the rest is wanted. The caller calls stop.
func (f feed) read(tx *store.Tx, after uint64, unacknowledged bool) (r *reader, stop func(), err error) {
	if unacknowledged {
		settled, err := f.settledUpTo(tx)
		if err != nil {
			return nil, nil, err
		}
		after = max(after, settled)
	}
	r = &reader{feed: f, sequence: after}
	r.next, stop = iter.Pull2(f.completions(tx, after))
	return r, stop, r.advance(unacknowledged)
}

// completions are what stands behind a place, all of it.
func (f feed) completions(tx *store.Tx, after uint64) iter.Seq2[*storagev1.Completion, error] {
	return func(yield func(*storagev1.Completion, error) bool) {
		for stub, err := range store.Scan(tx, f.entries, f.place(after)) {
			completion := stub
			if err == nil {
				completion, err = store.Get(tx, store.CompletionKey(stub.GetId()))
			}
			if !yield(completion, err) || err != nil {
				return
			}
		}
	}
}

// advance goes to the next entry that is to be listed.
func (r *reader) advance(unacknowledged bool) error {
	for {
		completion, err, more := r.next()
		if r.completion = completion; err != nil || !more {
			return err
		}
		r.sequence++ // A feed has no gaps.
		if r.feed.listed(completion) && (!unacknowledged || !r.feed.settled(completion)) {
			return nil
		}
	}
}

// earliest is the reader whose entry ahead came in first. Nil where none has any.
func earliest(readers ...*reader) (first *reader) {
	for _, r := range readers {
		if r.completion != nil && (first == nil || r.feed.at(r.completion).Before(first.feed.at(first.completion))) {
			first = r
		}
	}
	return first
}
