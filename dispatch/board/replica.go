package board

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// unit is the replica of one unit's log.
type unit struct {
	view

	// read is the sequence up to which the log was read.
	read uint64
}

// row is a task on the board.
type row struct {
	*fieldsyncv1.BoardRow

	// plain and folded are its words: with their diacritics and without, each between two spaces.
	plain, folded string
	// version is that of the replica at its newest change.
	version uint64
}

func (r *row) overdue(now time.Time) bool {
	return r.GetDueAt() != nil && underWay(r.GetState()) && r.GetDueAt().AsTime().Before(now)
}

// old tells whether a task has ended so long ago that nobody looks for it on the board.
func (r *row) old(now time.Time) bool {
	return !underWay(r.GetState()) && r.GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE && now.Sub(r.GetSince().AsTime()) > kept
}

// goneRow is a task that has left a unit's board.
type goneRow struct {
	version uint64
	unit    string
	task    string
}

// maxGone bounds how many of them are remembered for those who watch.
const maxGone = 10_000

// refresh reads what has been committed since the last time in what the caller sees.
func (s *Service) refresh(ctx context.Context, p auth.Principal) error {
	ids := []string{p.UnitID}
	return s.store.View(ctx, func(tx *store.Tx) error {
		if p.SeesAll() {
			ids = []string{auth.CityUnit}
			for u, err := range store.Scan(tx, store.Units(), nil) {
				if err != nil {
					return err
				}
				if u.GetId() != auth.CityUnit {
					ids = append(ids, u.GetId())
				}
			}
		}
		for _, id := range ids {
			if err := s.catchUp(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// catchUp reads a unit's log from where it was left.
func (s *Service) catchUp(tx *store.Tx, id string) error {
	head, err := store.Head(tx, store.UnitScope(id))
	if err != nil {
		return err
	}
	s.mu.RLock()
	current := s.units[id] != nil && s.units[id].read >= head.GetSequence()
	s.mu.RUnlock()
	if current || head.GetSequence() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.units[id]
	if u == nil {
		u = &unit{view: newView()}
		s.units[id] = u
	}
	for entry, err := range store.ScanLog(tx, store.UnitScope(id), u.read) {
		if err != nil {
			return err
		}
		if err := s.enter(tx, id, u, entry); err != nil {
			return err
		}
		u.read = entry.Sequence
	}
	u.read = max(u.read, head.GetSequence())
	s.prune(tx.Now())
	return nil
}

// prune takes what ended long ago off the board, once an hour. With mu held.
func (s *Service) prune(now time.Time) {
	if now.Sub(s.pruned) < time.Hour {
		return
	}
	s.pruned = now
	s.version++
	for id, u := range s.units {
		for _, r := range u.rows {
			if r.old(now) {
				s.remove(id, u, r.GetTaskId())
			}
		}
	}
}

// enter lets an entry of a unit's log change the board. With mu held.
func (s *Service) enter(tx *store.Tx, id string, u *unit, entry store.LogEntry) error {
	s.version++
	if entry.GetRemoved() {
		s.remove(id, u, entry.GetTaskId())
		return nil
	}
	record, err := store.Get(tx, store.TaskKey(entry.GetTaskId()))
	if err != nil {
		return err
	}
	r := newRow(record, entry.GetAt(), s.version)
	if r.old(tx.Now()) {
		s.remove(id, u, entry.GetTaskId())
		return nil
	}
	u.put(r)
	s.city.put(r)
	return nil
}

func (s *Service) remove(id string, u *unit, task string) {
	r := u.rows[task]
	if r == nil {
		return
	}
	u.delete(r)
	if s.city.rows[task] == r { // Else it has come to another unit, whose log was read before.
		s.city.delete(r)
	}
	s.gone = append(s.gone, goneRow{s.version, id, task})
	if len(s.gone) > 2*maxGone {
		s.gone = append([]goneRow(nil), s.gone[len(s.gone)-maxGone:]...)
	}
}

func newRow(record *storagev1.TaskRecord, at *timestamppb.Timestamp, version uint64) *row {
	task := record.GetTask()
	ticket, status, assignment := task.GetTicket(), task.GetStatus(), task.GetAssignment()
	r := &row{version: version, BoardRow: &fieldsyncv1.BoardRow{
		TaskId: task.GetId(), Revision: task.GetRevision(), HotlineId: ticket.GetHotlineId(), Category: ticket.GetCategory(),
		Title: ticket.GetTitle(), Address: ticket.GetAddress(), Position: ticket.GetPosition(), Urgency: ticket.GetUrgency(),
		UnitId: ticket.GetUnitId(), State: status.GetState(), Since: status.GetSince(), CrewId: assignment.GetCrewId(),
		DueAt: assignment.GetDueAt(), Review: status.GetReview(), ReportedAt: ticket.GetReportedAt(), ChangedAt: at,
		Unseen: status.GetState() == fieldsyncv1.TaskState_TASK_STATE_ASSIGNED && assignment.GetSeenAt() == nil,
	}}
	if r.DueAt == nil { // Nobody was told yet when it is due; its clock runs since it was reported.
		r.DueAt = record.GetClock().GetDueAt()
	}
	for _, photo := range task.GetPhotos() {
		if photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
			r.PhotosOnPhones++
		}
	}
	r.plain, r.folded = index(ticket.GetTitle(), ticket.GetAddress(), ticket.GetDescription(), ticket.GetCategory(), ticket.GetHotlineId())
	return r
}
