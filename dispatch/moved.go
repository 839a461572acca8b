package dispatch

import (
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

// Moved brings the deadline and the escalation of a task up to date with its state, in the transaction that has moved it and
// before the task is saved: whoever moves tasks is given this function by whoever composes the server.
func (s *Service) Moved(tx *store.Tx, record *storagev1.TaskRecord) error {
	if err := s.startClock(tx, record); err != nil {
		return err
	}
	if err := s.escalate(tx, record); err != nil {
		return err
	}
	return s.judge(tx, record)
}
