package store

import (
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// maxHistory bounds the states that a task remembers.
const maxHistory = 200

// NoteState enters the state that a task has come into in its history, where it is another than the last one there. Whoever moves
// a state more than once in a transaction calls it after each move; SaveTask sees to the rest. happened is the account of the
// phone that recorded what led there, nil where none did.
func NoteState(record *storagev1.TaskRecord, happened *fieldsyncv1.TimeInterval) {
	status, history := record.GetTask().GetStatus(), record.GetHistory()
	if n := len(history); status == nil || n > 0 && history[n-1].GetState() == status.GetState() && proto.Equal(history[n-1].GetAt(), status.GetSince()) {
		return
	}
	history = append(history, &storagev1.StatusChange{State: status.GetState(), At: status.GetSince(), Happened: happened})
	record.History = history[max(0, len(history)-maxHistory):]
}
