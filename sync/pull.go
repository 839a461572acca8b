package sync

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// defaultBudget is how many bytes of delta an answer carries where the phone states no budget.
const defaultBudget = 256 << 10

// The lanes of a reading: what a phone should hear first overtakes the rest. In which lane a task's change goes is decided
// by the task and by what the replica held when the reading began, never by the time: so it can change only together with
// the task's place in the log, and nothing falls between two lanes.
const (
	// laneOrders: tasks that are new to the replica, removals, assignments and cancellations.
	laneOrders = iota
	// laneUrgent: what else changed in tasks of high urgency, and corrections of the ticket.
	laneUrgent
	laneRest
	lanes
)

func laneOf(task *fieldsyncv1.Task, since uint64) int {
	status := task.GetStatus()
	switch {
	case since == 0, task.GetAssignment().GetRevision() > since,
		status.GetRevision() > since && status.GetState() == fieldsyncv1.TaskState_TASK_STATE_CANCELLED:
		return laneOrders
	case task.GetTicket().GetUrgency() == fieldsyncv1.Urgency_URGENCY_HIGH, task.GetTicket().GetRevision() > since:
		return laneUrgent
	default:
		return laneRest
	}
}

// pull answers with what changed in the scope behind the cursor, from one snapshot with the head. A cursor of another
// server, scope or epoch, one ahead of the head (a server restored from a backup), or one so old that removals behind it are
// forgotten, reads from the beginning. to is the answer's cursor.
func (e *Engine) pull(ctx context.Context, scope store.Scope, from cursor, budget uint32) (resp *fieldsyncv1.SyncResponse, to cursor, err error) {
	if budget == 0 {
		budget = defaultBudget
	}
	resp = &fieldsyncv1.SyncResponse{ServerTime: e.serverTime()}
	if e.lease > 0 {
		resp.PersonalUntil = timestamppb.New(e.store.Now().Add(e.lease).Truncate(time.Second))
	}
	err = e.store.View(ctx, func(tx *store.Tx) error {
		head, err := store.Head(tx, scope)
		if err != nil {
			return err
		}
		page := &page{tx: tx, tasks: &e.tasks, resp: resp, budget: int(budget)}
		page.at, resp.Reset_ = e.begin(scope, head, from)
		if err := page.read(scope); err != nil {
			return err
		}
		page.pack(head.GetSequence())
		to = page.at
		resp.Cursor = to.encode()
		resp.Head = publicHead(head)
		return nil
	})
	return resp, to, err
}

// begin tells where a reading goes on, or begins, and whether the replica has to forget what it holds.
func (e *Engine) begin(scope store.Scope, head *storagev1.ScopeHead, from cursor) (at cursor, reset bool) {
	at = cursor{
		serverEpoch: e.store.ServerEpoch(), scope: fingerprint(scope), scopeEpoch: head.GetEpoch(),
		reading: true, start: head.GetSequence(),
	}
	removalsFrom := from.sequence
	if from.reading {
		removalsFrom = from.lanes[laneOrders]
		if from.sequence == 0 {
			// It began from nothing: what had left by then it never held, and need not hear of.
			removalsFrom = max(removalsFrom, from.start)
		}
	}
	switch {
	case !from.sameLog(at) || removalsFrom < head.GetFloor():
		return at, true
	case from.sequence > head.GetSequence() || from.start > head.GetSequence():
		return at, true
	case from.reading:
		return from, false
	}
	at.sequence = from.sequence
	for i := range at.lanes {
		at.lanes[i] = from.sequence
	}
	return at, false
}

// sameLog tells whether the cursor is of the same log as another.
func (c cursor) sameLog(other cursor) bool {
	return c.serverEpoch == other.serverEpoch && c.scope == other.scope && c.scopeEpoch == other.scopeEpoch
}

// page is an answer that is being made.
type page struct {
	tx     *store.Tx
	tasks  *taskMemory
	resp   *fieldsyncv1.SyncResponse
	at     cursor
	budget int

	queues [lanes]struct {
		changes []change
		bytes   int
		// waiting counts the changes that found no room in the queue.
		waiting uint64
	}
}

// change is a task's change, or its removal.
type change struct {
	sequence uint64
	delta    *fieldsyncv1.TaskDelta
	removal  *fieldsyncv1.Removal
	size     int
}

// read fills the lanes' queues with what lies behind the cursor: each with little more than the budget, the rest is counted.
func (p *page) read(scope store.Scope) error {
	for entry, err := range store.ScanLog(p.tx, scope, min(p.at.lanes[laneOrders], p.at.lanes[laneUrgent], p.at.lanes[laneRest])) {
		if err != nil {
			return err
		}
		fromNothing := p.at.sequence == 0
		if entry.GetRemoved() {
			// A replica that began from nothing never held what had left before it began.
			if !fromNothing || entry.Sequence > p.at.start {
				removal := &fieldsyncv1.Removal{TaskId: entry.GetTaskId(), Reason: entry.GetReason()}
				p.enqueue(laneOrders, change{sequence: entry.Sequence, removal: removal, size: proto.Size(removal)})
			}
			continue
		}
		if fromNothing && p.full(laneOrders) {
			p.enqueue(laneOrders, change{sequence: entry.Sequence}) // It is only counted: no need to load it.
			continue
		}
		task, err := p.tasks.load(p.tx, entry)
		if err != nil {
			return err
		}
		since := entry.RevisionAt(p.at.sequence)
		d := delta(task, since)
		p.enqueue(laneOf(task, since), change{sequence: entry.Sequence, delta: d, size: proto.Size(d)})
	}
	return nil
}

func (p *page) full(lane int) bool { return p.queues[lane].bytes > p.budget }

func (p *page) enqueue(lane int, c change) {
	q := &p.queues[lane]
	switch {
	case c.sequence <= p.at.lanes[lane]: // The phone has it.
	case p.full(lane):
		q.waiting++
	default:
		q.changes = append(q.changes, c)
		q.bytes += c.size
	}
}

// pack puts the queues into the answer, lane by lane, as far as the budget goes, at least one change.
func (p *page) pack(head uint64) {
	used := 0
	for lane := range p.queues {
		q := &p.queues[lane]
		for i, c := range q.changes {
			if used > 0 && used+c.size > p.budget {
				q.waiting += uint64(len(q.changes[i:]))
				break
			}
			used += c.size
			p.at.lanes[lane] = c.sequence
			if c.removal != nil {
				p.resp.Removals = append(p.resp.Removals, c.removal)
			} else {
				p.resp.Tasks = append(p.resp.Tasks, c.delta)
			}
		}
		p.resp.Remaining += q.waiting
		if q.waiting > 0 {
			// Nothing of a later lane may overtake it.
			for _, later := range p.queues[lane+1:] {
				p.resp.Remaining += uint64(len(later.changes)) + later.waiting
			}
			p.resp.More = true
			return
		}
		p.at.lanes[lane] = head
	}
	p.at = cursor{serverEpoch: p.at.serverEpoch, scope: p.at.scope, scopeEpoch: p.at.scopeEpoch, sequence: head}
}

// serverTime is what a phone hears of the server's clock: in whole seconds, not later than it is.
func (e *Engine) serverTime() *timestamppb.Timestamp {
	return timestamppb.New(e.store.Now().Truncate(time.Second))
}

func publicHead(head *storagev1.ScopeHead) *fieldsyncv1.ScopeHead {
	return &fieldsyncv1.ScopeHead{Sequence: head.GetSequence(), Tasks: head.GetTasks(), Digest: head.GetDigest()}
}
