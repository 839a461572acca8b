package hotline

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

const benchCompletions = 100_000

// BenchmarkFeed pulls 100,000 completions from the feed, 500 a page, as the hotline does after a long absence. Its floor, taken by turns
// with it in the same run, reads the very same records raw: each by its key from the engine, undecoded. "of-floor" is the feed's rate
// as a share of the floor's: `go test ./hotline -run '^$' -bench Feed -benchtime 5x`.
func BenchmarkFeed(b *testing.B) {
	engine, err := embedded.Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	st, err := store.Open(b.Context(), engine, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	fillFeed(b, st)
	s := New(Options{Store: st, Log: slog.New(slog.DiscardHandler)})
	ctx := auth.WithPrincipal(b.Context(), auth.Principal{MemberID: "tong-dai", Role: fieldsyncv1.Role_ROLE_HOTLINE})
	var feed, floor time.Duration
	for b.Loop() {
		began := time.Now()
		pullFeed(ctx, b, s)
		feed += time.Since(began)
		began = time.Now()
		readRaw(ctx, b, engine)
		floor += time.Since(began)
	}
	b.ReportMetric(float64(b.N*benchCompletions)/feed.Seconds(), "completions/s")
	b.ReportMetric(floor.Seconds()/feed.Seconds(), "of-floor")
}

func pullFeed(ctx context.Context, b *testing.B, s *Service) {
	b.Helper()
	request := &fieldsyncv1.ListCompletionsRequest{Limit: 500}
	for n := 0; ; {
		page, err := s.ListCompletions(ctx, request)
		if err != nil {
			b.Fatal(err)
		}
		n, request.Cursor = n+len(page.GetCompletions()), page.GetCursor()
		if !page.GetMore() {
			if n != benchCompletions {
				b.Fatalf("%d completions", n)
			}
			return
		}
	}
}

func readRaw(ctx context.Context, b *testing.B, engine store.Engine) {
	b.Helper()
	n := 0
	err := engine.View(ctx, func(kv store.KV) error {
		n = 0
		for i := range benchCompletions {
			for _, key := range [][]byte{store.FeedKey(uint64(i + 1)), store.CompletionKey(benchID(i))} {
				if value, err := kv.Get(key); err != nil || value == nil {
					return fmt.Errorf("record %d: %w", i, err)
				}
			}
			n++
		}
		return nil
	})
	if err != nil || n != benchCompletions {
		b.Fatal(n, err)
	}
}

func benchID(i int) string { return fmt.Sprintf("06h15h5b31nqq2%06d", i) }

// fillFeed enters sealed completions of three photos each, of about 1.3 KB.
func fillFeed(b *testing.B, st *store.Store) {
	b.Helper()
	at := timestamppb.New(time.Date(2025, 11, 24, 9, 0, 0, 0, time.UTC))
	for begin := 0; begin < benchCompletions; begin += 200 {
		err := st.Update(b.Context(), func(tx *store.Tx) error {
			for i := begin; i < begin+200; i++ {
				id := benchID(i)
				said := &fieldsyncv1.CompletionRecord{
					CompletionId: id, TaskId: "t" + id, TicketId: "p" + id, HotlineId: "1022-" + id, CrewId: "to-cay-xanh", MemberId: "an", DeviceId: "d",
					Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, Note: "Đã cắt dọn cành, trả lại mặt đường", AcceptedAt: at, SealedAt: at, DueAt: at,
					Completed: &fieldsyncv1.TimeInterval{Earliest: at, Latest: at, Wall: at},
					Claim:     make([]byte, 300), ClaimSignature: make([]byte, 64), DeviceKey: make([]byte, 91),
				}
				for n := range 3 {
					said.Photos = append(said.Photos, &fieldsyncv1.PhotoFact{
						PhotoId: fmt.Sprint(id, n), Sha256: make([]byte, 32), SizeBytes: 200_000, Captured: said.GetCompleted(),
						Position: &fieldsyncv1.Position{Latitude: 10.77, Longitude: 106.7, AccuracyM: 8},
					})
				}
				record, err := proto.Marshal(said)
				if err != nil {
					return err
				}
				sequence := uint64(i + 1)
				if err := store.Put(tx, store.FeedKey(sequence), &storagev1.Completion{Id: id}); err != nil {
					return err
				}
				if err := store.Put(tx, store.CompletionKey(id), &storagev1.Completion{
					Id: id, TaskId: said.GetTaskId(), TicketId: said.GetTicketId(), State: fieldsyncv1.ProofState_PROOF_STATE_SEALED,
					Record: record, ClaimedRecord: record, Signature: make([]byte, 64), KeyId: "key", FeedSequence: sequence, SealedAt: at, AcceptedAt: at,
				}); err != nil {
					return err
				}
			}
			return store.Put(tx, store.FeedHeadKey(), &storagev1.SequenceHead{Sequence: uint64(begin + 200)})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
