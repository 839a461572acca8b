package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Finding is something in the records that cannot be as the code writes it.
type Finding struct {
	// Where names the record, by ids: no names of persons.
	Where string
	// What is wrong with it.
	What string
}

// String joins the two.
func (f Finding) String() string { return f.Where + ": " + f.What }

// CheckOptions say how far Check goes.
type CheckOptions struct {
	// Evidence tells whether the original of a verified photo is there under its hash. It returns an error that says what is
	// wrong where it is not. Photos are not looked at where it is nil.
	Evidence func(ctx context.Context, sha256 [sha256.Size]byte, bytes uint64) error
	// Rest is how many times as long as it has read Check pauses, so that it takes its share of a processor and no more beside a server's
	// work. 0: it does not pause.
	Rest int
	// Progress hears now and then how many records were read. Nobody does where it is nil.
	Progress func(records int64)
}

// Check reads the records, in one snapshot, and holds them against each other: the log of each scope against its head, its
// digest and its tasks, the verdicts against the numbering, the hotline's feed against its head, verified photos against
// what is kept. It changes nothing, goes on beside writes, and returns what it finds; the error is for when it could not go
// on. Memory grows with the largest scope.
func Check(ctx context.Context, s *Store, o CheckOptions) ([]Finding, error) {
	c := checker{ctx: ctx, options: o, rested: time.Now()} //nolint:forbidigo // See pause.
	err := s.View(ctx, func(tx *Tx) error {
		c.tx = tx
		c.scopes()
		c.verdicts()
		c.evidence()
		return c.feeds()
	})
	return c.found, err
}

type checker struct {
	ctx     context.Context //nolint:containedctx // Of the one call of Check.
	tx      *Tx
	options CheckOptions
	found   []Finding
	// read counts records since the last pause, which ended at rested.
	read   int
	rested time.Time
	// all counts all records.
	all int64
}

// restEvery is how many records are read between two pauses: a few milliseconds.
const restEvery = 256

// pause rests when it is time to.
func (c *checker) pause() {
	if c.all++; c.options.Progress != nil && c.all%restEvery == 0 {
		c.options.Progress(c.all)
	}
	if c.read++; c.options.Rest == 0 || c.read < restEvery {
		return
	}
	select {
	case <-c.ctx.Done():
	case <-time.After(time.Duration(c.options.Rest) * time.Since(c.rested)): //nolint:forbidigo // How long the machine took, whatever time it is.
	}
	c.read, c.rested = 0, time.Now() //nolint:forbidigo // The same.
}

func (c *checker) addf(where, format string, args ...any) {
	c.found = append(c.found, Finding{where, fmt.Sprintf(format, args...)})
}

// records yields the records under a prefix with what follows the prefix in their keys. One that cannot be read is a finding.
func records[T any, M message[T]](c *checker, prefix Prefix[T]) iter.Seq2[[]byte, M] {
	return func(yield func([]byte, M) bool) {
		for pair, err := range c.tx.scan(prefix, nil) {
			c.pause()
			if err == nil {
				err = c.ctx.Err()
			}
			if err != nil {
				c.addf(readable(prefix), "reading stops: %v", err)
				return
			}
			record, err := decode[T, M](pair.Key, pair.Value)
			if err != nil {
				c.addf(readable(pair.Key), "%v", err)
				continue
			}
			if !yield(bytes.Clone(pair.Key[len(prefix):]), record) {
				return
			}
		}
	}
}

// readable shows a key with its zero bytes as slashes.
func readable(key []byte) string { return strings.ReplaceAll(string(key), "\x00", "/") }

func (c *checker) scopes() {
	for rest, head := range records(c, ScopeHeads()) {
		scope := Scope(unescapeText.Replace(string(bytes.TrimSuffix(rest, []byte{0}))))
		c.scope(scope, head)
	}
}

func (c *checker) scope(scope Scope, head *storagev1.ScopeHead) {
	where := "scope " + string(scope)
	places := make(map[string]uint64)
	inRecord := make(map[string]bool)
	var tasks, digest uint64
	for rest, entry := range records(c, ScopeLog(scope)) {
		sequence, id := binary.BigEndian.Uint64(rest), entry.GetTaskId()
		at := fmt.Sprintf("%s, entry %d of task %s", where, sequence, id)
		if other, twice := places[id]; twice {
			c.addf(at, "the task has an entry at %d too", other)
		}
		places[id] = sequence
		if sequence > head.GetSequence() {
			c.addf(at, "it stands behind the head, which is at %d", head.GetSequence())
		}
		if entry.GetRemoved() {
			continue
		}
		tasks++
		digest += TaskDigest(id, entry.GetRevision())
		task, err := Get(c.tx, TaskKey(id))
		switch {
		case err != nil:
			c.addf(at, "%v", err)
		case task == nil:
			c.addf(at, "there is no such task")
			inRecord[id] = true // That its place is missing too says nothing more.
		case task.GetTask().GetRevision() != entry.GetRevision():
			c.addf(at, "it has revision %d, the task %d", entry.GetRevision(), task.GetTask().GetRevision())
		case !slices.Contains(task.GetScopes(), string(scope)):
			c.addf(at, "the task does not know that it is in this scope")
		}
		for _, place := range task.GetPlaces() {
			if place.GetScope() == string(scope) {
				inRecord[id] = true
				if place.GetSequence() != sequence {
					c.addf(at, "the task says that it stands at %d", place.GetSequence())
				}
			}
		}
	}
	if tasks != head.GetTasks() || digest != head.GetDigest() {
		c.addf(where, "the head has %d tasks with the digest %016x, the log %d with %016x", head.GetTasks(), head.GetDigest(), tasks, digest)
	}
	for rest, place := range records(c, ScopePlaces(scope)) {
		id := unescapeText.Replace(string(bytes.TrimSuffix(rest, []byte{0})))
		if places[id] != place.GetSequence() {
			c.addf(where, "task %s is said to stand at %d and stands at %d", id, place.GetSequence(), places[id])
		}
		delete(places, id)
	}
	for id := range places {
		if !inRecord[id] {
			c.addf(where, "the place of task %s is missing", id)
		}
	}
}

// verdicts: dense up to the head. The oldest may have been forgotten.
func (c *checker) verdicts() {
	for rest, head := range records(c, MutationHeads()) {
		where := "verdicts of device " + readable(rest[:len(rest)-9]) + fmt.Sprintf(", install epoch %d", binary.BigEndian.Uint64(rest[len(rest)-8:]))
		prefix := append(Prefix[storagev1.VerdictRecord](newKey("verdict")), rest...)
		var last uint64
		for number, record := range records(c, prefix) {
			n := binary.BigEndian.Uint64(number)
			if last != 0 && n != last+1 {
				c.addf(where, "%d comes after %d", n, last)
			}
			if len(record.GetVerdict()) == 0 {
				c.addf(where, "%d is empty", n)
			}
			last = n
		}
		if last != head.GetNumber() {
			c.addf(where, "they end at %d, the head is at %d", last, head.GetNumber())
		}
	}
}

// feeds looks at what the hotline pulls: the sealed completions, and the claims by which a ticket may be closed.
func (c *checker) feeds() error {
	err := c.feed("feed", Feed(), FeedHeadKey(), (*storagev1.Completion).GetFeedSequence, func(completion *storagev1.Completion) string {
		if len(completion.GetRecord()) == 0 || len(completion.GetSignature()) == 0 {
			return "the completion is not sealed"
		}
		return ""
	})
	if err != nil {
		return err
	}
	return c.feed("feed of claims", ClaimFeed(), ClaimFeedHeadKey(), (*storagev1.Completion).GetClaimSequence, func(completion *storagev1.Completion) string {
		if len(completion.GetClaimedRecord()) == 0 {
			return "the completion has no record of its claim"
		}
		return ""
	})
}

func (c *checker) feed(name string, entries Prefix[storagev1.Completion], headKey Key[storagev1.SequenceHead],
	place func(*storagev1.Completion) uint64, lacks func(*storagev1.Completion) string,
) error {
	head, err := Get(c.tx, headKey)
	if err != nil {
		return err
	}
	var last uint64
	for rest, stub := range records(c, entries) {
		sequence := binary.BigEndian.Uint64(rest)
		where := fmt.Sprintf("%s, place %d, completion %s", name, sequence, stub.GetId())
		if sequence != last+1 {
			c.addf(where, "it comes after %d", last)
		}
		last = sequence
		completion, err := Get(c.tx, CompletionKey(stub.GetId()))
		switch {
		case err != nil:
			c.addf(where, "%v", err)
		case completion == nil:
			c.addf(where, "there is no such completion")
		case place(completion) != sequence:
			c.addf(where, "the completion says that it is at %d", place(completion))
		case lacks(completion) != "":
			c.addf(where, "%s", lacks(completion))
		}
	}
	if last != head.GetSequence() {
		c.addf(name, "it ends at %d, its head is at %d", last, head.GetSequence())
	}
	return nil
}

func (c *checker) evidence() {
	if c.options.Evidence == nil {
		return
	}
	looked := make(map[[sha256.Size]byte]bool)
	for _, upload := range records(c, Uploads()) {
		if upload.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
			continue
		}
		where := "photo " + upload.GetId()
		if len(upload.GetSha256()) != sha256.Size {
			c.addf(where, "its hash has %d bytes", len(upload.GetSha256()))
			continue
		}
		sum := [sha256.Size]byte(upload.GetSha256())
		if looked[sum] {
			continue
		}
		looked[sum] = true
		if err := c.options.Evidence(c.ctx, sum, upload.GetSizeBytes()); err != nil {
			c.addf(fmt.Sprintf("%s, SHA-256 %x", where, sum), "%v", err)
		}
	}
}
