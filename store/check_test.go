package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// Protects: records as the code writes them have no finding, and each way in which they can contradict each other has one that
// names the record.
func TestCheck(t *testing.T) {
	const scope, other = store.Scope("c:to\x00mot"), store.Scope("c:to-hai")
	photo := sha256.Sum256([]byte("photo"))
	fill := func(tx *store.Tx) error {
		for _, id := range []string{"t1", "t2", "t3"} {
			record := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}, Scopes: []string{string(scope)}}
			for range 3 {
				store.NextRevision(record)
				if err := store.SaveTask(tx, record, 0); err != nil {
					return err
				}
			}
			if id == "t3" { // It moves on.
				record.Scopes = []string{string(other)}
				store.NextRevision(record)
				if err := store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED); err != nil {
					return err
				}
			}
		}
		verdict := &storagev1.VerdictRecord{Verdict: []byte("v")}
		for n := uint64(1); n <= 3; n++ {
			if err := store.Put(tx, store.VerdictKey("d1", 1, n), verdict); err != nil {
				return err
			}
			if err := store.Put(tx, store.FeedKey(n), &storagev1.Completion{Id: string(rune('a' + n))}); err != nil {
				return err
			}
			if err := store.Put(tx, store.ClaimFeedKey(n), &storagev1.Completion{Id: string(rune('a' + n))}); err != nil {
				return err
			}
			if err := store.Put(tx, store.CompletionKey(string(rune('a'+n))), &storagev1.Completion{
				Id: string(rune('a' + n)), FeedSequence: n, Record: []byte("r"), Signature: []byte("s"), ClaimSequence: n, ClaimedRecord: []byte("c"),
			}); err != nil {
				return err
			}
		}
		return errors.Join(store.Put(tx, store.MutationHeadKey("d1", 1), &storagev1.MutationHead{Number: 3}),
			store.Put(tx, store.FeedHeadKey(), &storagev1.SequenceHead{Sequence: 3}),
			store.Put(tx, store.ClaimFeedHeadKey(), &storagev1.SequenceHead{Sequence: 3}),
			store.Put(tx, store.UploadKey("u1"), &storagev1.Upload{Id: "u1", Sha256: photo[:], State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED}))
	}
	for name, c := range map[string]struct {
		damage func(tx *store.Tx) error
		kept   error
		want   string // In the one finding; none where empty.
	}{
		"as written": {},
		"a head that counts wrongly": {damage: func(tx *store.Tx) error {
			head, err := store.Head(tx, scope)
			head.Digest++
			return errors.Join(err, store.Put(tx, store.ScopeHeadKey(scope), head))
		}, want: "the head has 2 tasks with the digest"},
		"a head that lags": {damage: func(tx *store.Tx) error {
			head, err := store.Head(tx, scope)
			head.Sequence--
			return errors.Join(err, store.Put(tx, store.ScopeHeadKey(scope), head))
		}, want: "it stands behind the head"},
		"a place that is missing": {damage: func(tx *store.Tx) error {
			return store.Delete(tx, store.ScopePlaceKey(scope, "t3")) // Which has moved on.
		}, want: "the place of task t3 is missing"},
		"a place that a record has lost": {damage: func(tx *store.Tx) error {
			record, err := store.Get(tx, store.TaskKey("t1"))
			record.Places = nil
			return errors.Join(err, store.Put(tx, store.TaskKey("t1"), record))
		}, want: "the place of task t1 is missing"},
		"a place that a record has wrong": {damage: func(tx *store.Tx) error {
			record, err := store.Get(tx, store.TaskKey("t1"))
			record.Places[0].Sequence++
			return errors.Join(err, store.Put(tx, store.TaskKey("t1"), record))
		}, want: "the task says that it stands at"},
		"a task of another revision": {damage: func(tx *store.Tx) error {
			record, err := store.Get(tx, store.TaskKey("t1"))
			record.Task.Revision++
			return errors.Join(err, store.Put(tx, store.TaskKey("t1"), record))
		}, want: "it has revision 3, the task 4"},
		"a task that is gone": {damage: func(tx *store.Tx) error {
			return store.Delete(tx, store.TaskKey("t2"))
		}, want: "of task t2: there is no such task"},
		"a verdict that is gone": {damage: func(tx *store.Tx) error {
			return store.Delete(tx, store.VerdictKey("d1", 1, 2))
		}, want: "device d1, install epoch 1: 3 comes after 1"},
		"the newest verdict gone": {damage: func(tx *store.Tx) error {
			return store.Delete(tx, store.VerdictKey("d1", 1, 3))
		}, want: "they end at 2, the head is at 3"},
		"a place in the feed that is gone": {damage: func(tx *store.Tx) error {
			return store.Delete(tx, store.FeedKey(2))
		}, want: "it comes after 1"},
		"a place among the claims that is gone": {damage: func(tx *store.Tx) error {
			return store.Delete(tx, store.ClaimFeedKey(2))
		}, want: "feed of claims, place 3, completion d: it comes after 1"},
		"a completion that is gone": {damage: func(tx *store.Tx) error {
			return errors.Join(store.Delete(tx, store.CompletionKey("d")), store.Delete(tx, store.ClaimFeedKey(3)),
				store.Put(tx, store.ClaimFeedHeadKey(), &storagev1.SequenceHead{Sequence: 2}))
		}, want: "completion d: there is no such completion"},
		"a photo that is gone": {kept: errors.New("it is not there"), want: "photo u1"},
	} {
		t.Run(name, func(t *testing.T) {
			engine, err := embedded.Open(t.TempDir(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(t.Context(), engine, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Update(t.Context(), fill); err != nil {
				t.Fatal(err)
			}
			if c.damage != nil {
				if err := s.Update(t.Context(), c.damage); err != nil {
					t.Fatal(err)
				}
			}
			found, err := store.Check(t.Context(), s, store.CheckOptions{
				Evidence: func(_ context.Context, sum [sha256.Size]byte, _ uint64) error {
					if sum != photo {
						t.Errorf("asked for %x", sum)
					}
					return c.kept
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			if len(found) != 1 || !strings.Contains(found[0].String(), c.want) {
				t.Errorf("found %q, not one with %q", found, c.want)
			}
		})
	}
}
