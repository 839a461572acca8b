package sync

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// defaultBudget is how many bytes of delta an answer carries where the phone states no budget.
const defaultBudget = 256 << 10

// pull answers with what changed in the scope behind the cursor, from one snapshot with the head. A cursor of another
// server, scope or epoch, or one ahead of the head (a server restored from a backup), reads from the beginning.
func (e *Engine) pull(ctx context.Context, scope store.Scope, from cursor, budget uint32) (*fieldsyncv1.SyncResponse, error) {
	if budget == 0 {
		budget = defaultBudget
	}
	resp := &fieldsyncv1.SyncResponse{ServerTime: timestamppb.New(e.store.Now())}
	err := e.store.View(ctx, func(tx *store.Tx) error {
		head, err := store.Head(tx, scope)
		if err != nil {
			return err
		}
		at := cursor{serverEpoch: e.store.ServerEpoch(), scope: fingerprint(scope), scopeEpoch: head.GetEpoch()}
		fits := from.serverEpoch == at.serverEpoch && from.scope == at.scope && from.scopeEpoch == at.scopeEpoch &&
			from.sequence <= head.GetSequence()
		switch {
		case !fits:
			at.start = head.GetSequence()
			resp.Reset_ = true
		case from.reading:
			at.sequence, at.base, at.start = from.sequence, from.base, from.start
		default:
			at.sequence, at.base = from.sequence, from.sequence
		}
		page := page{resp: resp, at: at, budget: int(budget)}
		for entry, err := range store.ScanLog(tx, scope, at.sequence) {
			if err != nil {
				return err
			}
			if err := page.add(tx, entry); err != nil {
				return err
			}
		}
		if page.at.reading = resp.GetMore(); !page.at.reading {
			page.at.sequence = head.GetSequence()
		}
		resp.Cursor = page.at.encode()
		resp.Head = publicHead(head)
		return nil
	})
	return resp, err
}

// page is an answer that is being packed.
type page struct {
	resp   *fieldsyncv1.SyncResponse
	at     cursor
	budget int
	used   int
}

// add packs an entry of the log, or counts it as waiting once the budget is used up.
func (p *page) add(tx *store.Tx, entry store.LogEntry) error {
	if entry.GetRemoved() && p.at.base == 0 && entry.Sequence <= p.at.start {
		return nil // The phone never held it.
	}
	if p.resp.GetMore() {
		p.resp.Remaining++
		return nil
	}
	if entry.GetRemoved() {
		p.resp.Removals = append(p.resp.Removals, &fieldsyncv1.Removal{TaskId: entry.GetTaskId(), Reason: entry.GetReason()})
		p.used += proto.Size(p.resp.GetRemovals()[len(p.resp.GetRemovals())-1])
		p.at.sequence = entry.Sequence
		return nil
	}
	record, err := store.Get(tx, store.TaskKey(entry.GetTaskId()))
	if err != nil {
		return err
	}
	if record == nil {
		return fmt.Errorf("the log names the task %s, which is not stored", entry.GetTaskId())
	}
	change := delta(record.GetTask(), entry.RevisionAt(p.at.base))
	size := proto.Size(change)
	if p.used > 0 && p.used+size > p.budget {
		p.resp.More, p.resp.Remaining = true, 1
		return nil
	}
	p.used += size
	p.resp.Tasks = append(p.resp.Tasks, change)
	p.at.sequence = entry.Sequence
	return nil
}

func publicHead(head *storagev1.ScopeHead) *fieldsyncv1.ScopeHead {
	return &fieldsyncv1.ScopeHead{Sequence: head.GetSequence(), Tasks: head.GetTasks(), Digest: head.GetDigest()}
}
