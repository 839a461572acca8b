package hotline

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

var start = time.Date(2025, 11, 20, 8, 0, 0, 0, time.UTC)

// house is a service over a real store with the units p-sai-gon and p-cho-lon.
type house struct {
	*Service

	t   *testing.T
	ctx context.Context //nolint:containedctx // The caller's, the same in all of a test.
	now time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	engine, err := embedded.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return newHouseOver(t, engine)
}

func newHouseOver(t *testing.T, engine store.Engine) *house {
	t.Helper()
	h := &house{t: t, now: start}
	h.ctx = auth.WithPrincipal(t.Context(), auth.Principal{MemberID: "tong-dai", Role: fieldsyncv1.Role_ROLE_HOTLINE})
	st, err := store.Open(t.Context(), engine, store.Options{Clock: func() time.Time { return h.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	h.Service = New(Options{Store: st, Log: slog.New(slog.DiscardHandler)})
	h.update(func(tx *store.Tx) error {
		for _, id := range []string{"p-sai-gon", "p-cho-lon"} {
			if err := store.Put(tx, store.UnitKey(id), &fieldsyncv1.Unit{Id: id, Name: id}); err != nil {
				return err
			}
		}
		return nil
	})
	return h
}

func (h *house) update(fn func(*store.Tx) error) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) view(fn func(*store.Tx) error) {
	h.t.Helper()
	if err := h.store.View(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func report(id string, change func(*fieldsyncv1.TicketIntake)) *fieldsyncv1.TicketIntake {
	in := &fieldsyncv1.TicketIntake{
		HotlineId: id, Category: "cay-do", Title: "Cây đổ chắn đường", Description: "Cây me ngã ngang đường sau mưa",
		Address: "Đường Tôn Đức Thắng", Position: &fieldsyncv1.Position{Latitude: 10.7797, Longitude: 106.7060},
		Urgency:    fieldsyncv1.Urgency_URGENCY_HIGH,
		Reporter:   &fieldsyncv1.Reporter{Name: "Nguyễn Thị Hoa", Phone: "0900000000"},
		ReportedAt: timestamppb.New(start.Add(-time.Hour)),
		UnitId:     "p-sai-gon",
	}
	if change != nil {
		change(in)
	}
	return in
}

func (h *house) submit(tickets ...*fieldsyncv1.TicketIntake) []*fieldsyncv1.SubmitTicketsResponse_Result {
	h.t.Helper()
	response, err := h.SubmitTickets(h.ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: tickets})
	if err != nil {
		h.t.Fatal(err)
	}
	return response.GetResults()
}

func (h *house) ticket(id string) (ticket *storagev1.Ticket) {
	h.t.Helper()
	h.view(func(tx *store.Tx) (err error) {
		ticket, err = store.Get(tx, store.TicketKey(id))
		return err
	})
	return ticket
}

func (h *house) record(task string) (record *storagev1.TaskRecord) {
	h.t.Helper()
	h.view(func(tx *store.Tx) (err error) {
		record, err = store.Get(tx, store.TaskKey(task))
		return err
	})
	return record
}

// unitTickets are the tickets in the index of a unit, unitTasks the tasks.
func (h *house) unitTickets(unit string) (ids []string) {
	h.t.Helper()
	h.view(func(tx *store.Tx) error {
		for ticket, err := range store.Scan(tx, store.UnitTickets(unit), nil) {
			if err != nil {
				return err
			}
			ids = append(ids, ticket.GetId())
		}
		return nil
	})
	return ids
}

func (h *house) unitTasks(unit string) (ids []string) {
	h.t.Helper()
	h.view(func(tx *store.Tx) error {
		for record, err := range store.Scan(tx, store.UnitTasks(unit), nil) {
			if err != nil {
				return err
			}
			ids = append(ids, record.GetTask().GetId())
		}
		return nil
	})
	return ids
}

// task makes a task of a ticket, done by the crew cay-xanh, as the rooms of dispatch and sync would.
func (h *house) task(ticket string) (id string) {
	h.t.Helper()
	h.update(func(tx *store.Tx) (err error) {
		if id, err = tx.NewID(); err != nil {
			return err
		}
		stored, err := store.Get(tx, store.TicketKey(ticket))
		if err != nil {
			return err
		}
		unit := stored.GetFacts().GetUnitId()
		record := &storagev1.TaskRecord{
			Task: &fieldsyncv1.Task{
				Id: id, Ticket: proto.CloneOf(stored.GetFacts()),
				Status:     &fieldsyncv1.StatusFacet{Revision: 1, State: fieldsyncv1.TaskState_TASK_STATE_DONE},
				Assignment: &fieldsyncv1.AssignmentFacet{Revision: 1, CrewId: "cay-xanh", AssignmentEpoch: 1},
			},
			Scopes:  []string{string(store.CrewScope("cay-xanh")), string(store.UnitScope(unit))},
			Tenures: []*storagev1.Tenure{{CrewId: "cay-xanh", AssignmentEpoch: 1, From: timestamppb.New(start)}},
		}
		record.Task.Ticket.Revision = store.NextRevision(record)
		stored.TaskId = id
		if err := store.Put(tx, store.TicketKey(ticket), stored); err != nil {
			return err
		}
		if err := store.Put(tx, store.UnitTaskKey(unit, id), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}}); err != nil {
			return err
		}
		return store.SaveTask(tx, record, 0)
	})
	return id
}

// completion gives a task a completion in the state given, in the feed if it is sealed, as the room of proof would.
func (h *house) completion(task string, state fieldsyncv1.ProofState) (id string) {
	h.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.update(func(tx *store.Tx) (err error) {
		if id, err = tx.NewID(); err != nil {
			return err
		}
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		ticket := record.GetTask().GetTicket()
		completion := &storagev1.Completion{Id: id, TaskId: task, TicketId: ticket.GetTicketId(), State: state, CrewId: "cay-xanh", AcceptedAt: tx.Timestamp()}
		record.Task.Completion = &fieldsyncv1.CompletionFacet{
			Revision: store.NextRevision(record), CompletionId: id, Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, ProofState: state,
		}
		if state == fieldsyncv1.ProofState_PROOF_STATE_SEALED {
			if err := seal(tx, key, completion, ticket.GetHotlineId()); err != nil {
				return err
			}
		}
		if err := store.Put(tx, store.CompletionKey(id), completion); err != nil {
			return err
		}
		return store.SaveTask(tx, record, 0)
	})
	return id
}

func seal(tx *store.Tx, key ed25519.PrivateKey, completion *storagev1.Completion, hotlineID string) error {
	head, err := store.Get(tx, store.FeedHeadKey())
	if err != nil {
		return err
	}
	completion.FeedSequence, completion.SealedAt, completion.KeyId = head.GetSequence()+1, tx.Timestamp(), "key"
	completion.Record, err = proto.Marshal(&fieldsyncv1.CompletionRecord{
		CompletionId: completion.GetId(), TaskId: completion.GetTaskId(), TicketId: completion.GetTicketId(), HotlineId: hotlineID,
		Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, SealedAt: tx.Timestamp(),
	})
	if err != nil {
		return err
	}
	completion.Signature = ed25519.Sign(key, append([]byte("fieldsync/completion/v1\n"), completion.GetRecord()...))
	if err := store.Put(tx, store.FeedHeadKey(), &storagev1.SequenceHead{Sequence: completion.GetFeedSequence()}); err != nil {
		return err
	}
	tx.Signal(store.FeedTopic)
	return store.Put(tx, store.FeedKey(completion.GetFeedSequence()), &storagev1.Completion{Id: completion.GetId()})
}

// announced is a ticket whose task has a claim by which it may be closed, as the room of proof would enter it.
func (h *house) announced(hotlineID string) (ticket, task, completion string) {
	h.t.Helper()
	ticket = h.submit(report(hotlineID, nil))[0].GetTicketId()
	task = h.task(ticket)
	completion = h.completion(task, claimed)
	h.update(func(tx *store.Tx) error {
		c, err := store.Get(tx, store.CompletionKey(completion))
		if err != nil {
			return err
		}
		head, err := store.Get(tx, store.ClaimFeedHeadKey())
		if err != nil {
			return err
		}
		c.ClaimSequence = head.GetSequence() + 1
		if c.ClaimedRecord, err = proto.Marshal(&fieldsyncv1.CompletionRecord{CompletionId: completion, HotlineId: hotlineID}); err != nil {
			return err
		}
		tx.Signal(store.FeedTopic)
		return errors.Join(
			store.Put(tx, store.CompletionKey(completion), c),
			store.Put(tx, store.ClaimFeedKey(c.GetClaimSequence()), &storagev1.Completion{Id: completion}),
			store.Put(tx, store.ClaimFeedHeadKey(), &storagev1.SequenceHead{Sequence: c.GetClaimSequence()}),
		)
	})
	return ticket, task, completion
}

// sealClaim seals a claim, as the last photo's arrival would.
func (h *house) sealClaim(task, completion string) {
	h.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.update(func(tx *store.Tx) error {
		c, err := store.Get(tx, store.CompletionKey(completion))
		if err != nil {
			return err
		}
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		c.State = fieldsyncv1.ProofState_PROOF_STATE_SEALED
		record.Task.Completion.ProofState, record.Task.Completion.Revision = c.GetState(), store.NextRevision(record)
		return errors.Join(seal(tx, key, c, record.GetTask().GetTicket().GetHotlineId()), store.Put(tx, store.CompletionKey(completion), c), store.SaveTask(tx, record, 0))
	})
}

// takeBack opens a task again after its claim, as the rooms of dispatch and proof would.
func (h *house) takeBack(task, completion string) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		c, err := store.Get(tx, store.CompletionKey(completion))
		if err != nil {
			return err
		}
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		c.Reopened = &fieldsyncv1.Correction{CompletionId: completion}
		record.Task.Status.State, record.Task.Status.Revision = fieldsyncv1.TaskState_TASK_STATE_OPEN, store.NextRevision(record)
		return errors.Join(store.Put(tx, store.CompletionKey(completion), c), store.SaveTask(tx, record, 0), Reopen(tx, c.GetTicketId()))
	})
}

// sealed is a ticket whose task has a sealed completion.
func (h *house) sealed(hotlineID string) (ticket, task, completion string) {
	h.t.Helper()
	ticket = h.submit(report(hotlineID, nil))[0].GetTicketId()
	task = h.task(ticket)
	return ticket, task, h.completion(task, fieldsyncv1.ProofState_PROOF_STATE_SEALED)
}

// entry is the task's entry in the scope's log, nil where it has none.
func (h *house) entry(scope store.Scope, task string) (found *storagev1.ScopeEntry) {
	h.t.Helper()
	h.view(func(tx *store.Tx) error {
		for entry, err := range store.ScanLog(tx, scope, 0) {
			if err != nil {
				return err
			}
			if entry.GetTaskId() == task {
				found = entry.ScopeEntry
			}
		}
		return nil
	})
	return found
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if (code == "") != (err == nil) || fault.CodeOf(err) != code {
		t.Fatalf("got the error %v, want the code %q", err, code)
	}
}

func wantEqual(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
