package store

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

// OutboxTopic is signalled when a row has been written that is due at once.
const OutboxTopic = "outbox"

// ErrLeaseLost means that a row's lease ran out and somebody else has it, or has settled it.
var ErrLeaseLost = errors.New("store: the outbox row's lease is lost")

// Enqueue writes a row into the outbox, due at once, in the transaction of what caused it: both are kept or neither. The
// caller sets only row.Work.
func Enqueue(tx *Tx, row *storagev1.OutboxRow) error {
	id, err := tx.NewID()
	if err != nil {
		return err
	}
	row.Id, row.CreatedAt, row.DueAt = id, tx.Timestamp(), tx.Timestamp()
	tx.Signal(OutboxTopic)
	return Put(tx, OutboxKey(tx.Now(), id), row)
}

// Claim takes up to limit rows that are due, for the time of the lease: nobody else gets them before it ends. Each claim
// counts as an attempt, so a worker that dies over a row again and again is seen. next is when the first row that was not
// taken falls due, zero where there is none.
func Claim(tx *Tx, limit int, lease time.Duration) (rows []*storagev1.OutboxRow, next time.Time, err error) {
	for row, err := range Scan(tx, Outbox(), nil) {
		if err != nil {
			return nil, time.Time{}, err
		}
		if due := row.GetDueAt().AsTime(); due.After(tx.Now()) || len(rows) == limit {
			next = due
			break
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		var token [16]byte
		if err := tx.Random(token[:]); err != nil {
			return nil, time.Time{}, err
		}
		row.Attempts++
		row.Lease = hex.EncodeToString(token[:])
		if err := reschedule(tx, row, tx.Now().Add(lease)); err != nil {
			return nil, time.Time{}, err
		}
	}
	return rows, next, nil
}

// Settle removes a claimed row: it is done. ErrLeaseLost where the lease has ended and another holds the row, or where the
// row was never claimed.
func Settle(tx *Tx, row *storagev1.OutboxRow) error {
	if err := checkLease(tx, row); err != nil {
		return err
	}
	return Delete(tx, OutboxKey(row.GetDueAt().AsTime(), row.GetId()))
}

// Postpone gives a claimed row back, due at the time given. ErrLeaseLost as Settle.
func Postpone(tx *Tx, row *storagev1.OutboxRow, due time.Time) error {
	if err := checkLease(tx, row); err != nil {
		return err
	}
	given := proto.CloneOf(row) // The caller's row stays as it is: the transaction may run again.
	given.Lease = ""
	return reschedule(tx, given, due)
}

// Bury takes a claimed row out of the outbox for good and keeps it aside with the reason, which must hold no address and no
// personal data. ErrLeaseLost as Settle.
func Bury(tx *Tx, row *storagev1.OutboxRow, reason string) error {
	if err := Settle(tx, row); err != nil {
		return err
	}
	return Put(tx, OutboxDeadKey(row.GetId()), &storagev1.OutboxDead{Row: row, At: tx.Timestamp(), Error: reason})
}

func checkLease(tx *Tx, row *storagev1.OutboxRow) error {
	stored, err := Get(tx, OutboxKey(row.GetDueAt().AsTime(), row.GetId()))
	if err != nil {
		return err
	}
	if stored == nil || row.GetLease() == "" || subtle.ConstantTimeCompare([]byte(stored.GetLease()), []byte(row.GetLease())) != 1 {
		return ErrLeaseLost
	}
	return nil
}

// reschedule moves a row to another due time, which is part of its key.
func reschedule(tx *Tx, row *storagev1.OutboxRow, due time.Time) error {
	if err := Delete(tx, OutboxKey(row.GetDueAt().AsTime(), row.GetId())); err != nil {
		return err
	}
	row.DueAt = timestamppb.New(due)
	return Put(tx, OutboxKey(due, row.GetId()), row)
}
