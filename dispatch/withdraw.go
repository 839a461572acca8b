package dispatch

import (
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Withdraw calls a task off because the hotline takes its ticket back, in the transaction that does: as a dispatcher's cancel would,
// with the end of its clock and escalation, and the push to the crew that loses it. The task has not ended.
func (s *Service) Withdraw(tx *store.Tx, record *storagev1.TaskRecord, member, reason string) error {
	crew := record.GetTask().GetAssignment().GetCrewId()
	changed, err := order{member: member, reason: reason}.cancel(record, tx.Now())
	if err != nil || !changed {
		return err
	}
	if err := s.Moved(tx, record); err != nil {
		return err
	}
	if err := store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_CANCELLED); err != nil {
		return err
	}
	return announce(tx, record.GetTask(), crew, true)
}
