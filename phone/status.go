package phone

import (
	"encoding/json"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Status is for people who ask how this phone is. Times are the phone's wall clock but for TokenExpires, and absent (zero)
// where there is none.
type Status struct {
	// Who and where; empty before the enrolment.
	Server       string `json:"server,omitempty"`
	DeviceID     string `json:"device_id,omitempty"`
	InstallEpoch uint32 `json:"install_epoch,omitempty"`
	MemberID     string `json:"member_id,omitempty"`
	MemberName   string `json:"member_name,omitempty"`
	CrewID       string `json:"crew_id,omitempty"`
	// Queued is how many mutations wait for a verdict, Oldest when the oldest was recorded.
	Queued int       `json:"queued"`
	Oldest time.Time `json:"oldest,omitzero"`
	// PhotosWaiting is how many originals have not arrived, PhotoBytes their size. PhotosRefused are those whose attach was
	// rejected or quarantined: their copies stay on the phone.
	PhotosWaiting int    `json:"photos_waiting"`
	PhotoBytes    uint64 `json:"photo_bytes"`
	PhotosRefused int    `json:"photos_refused"`
	// PhotosLost are those whose copies on the phone are missing or damaged, so that they cannot be sent.
	PhotosLost int `json:"photos_lost"`
	// PhotosDamaged is how many the server has asked for again: see Phone.Damaged.
	PhotosDamaged int `json:"photos_damaged"`
	// ReceiptsOwed is how many receipts the next Upload asks for.
	ReceiptsOwed int `json:"receipts_owed"`
	// Tasks is how many the replica holds; Whole says that it stood at the server's head, Sequence, at LastSync. Otherwise
	// Remaining tasks had not been fetched yet.
	Tasks     int       `json:"tasks"`
	Whole     bool      `json:"whole"`
	Remaining uint64    `json:"remaining"`
	Sequence  uint64    `json:"sequence"`
	LastSync  time.Time `json:"last_sync,omitzero"`
	// LastSyncAge is how long ago that is by the phone's wall clock.
	LastSyncAge time.Duration `json:"last_sync_age_ns,omitempty"`
	// TokenExpires is when the access token does, in the server's time. A phone offline for longer just refreshes it.
	TokenExpires time.Time `json:"token_expires,omitzero"`
	// PersonalUntil is until when citizens' names and phone numbers are kept without another sync, in the server's time.
	PersonalUntil time.Time `json:"personal_until,omitzero"`
	// Revoked: the server takes nothing from this device but what it recorded before it heard of that.
	Revoked bool `json:"revoked,omitempty"`
	// Watching is the way in which this phone hears of changes.
	Watching Way `json:"watching"`
	// Kept is how many acknowledged mutations are kept in case the server has to be restored: for a day, and until its backup has them.
	Kept int `json:"kept"`
	// Verdicts is how many there are to read.
	Verdicts int `json:"verdicts"`
}

// Status tells how this phone is, from what it holds.
func (p *Phone) Status() (Status, error) {
	var s Status
	err := p.view(func(tx *bolt.Tx, st *state) error {
		s = Status{
			Server: st.Server, DeviceID: st.DeviceID, InstallEpoch: st.InstallEpoch,
			MemberID: st.MemberID, MemberName: st.MemberName, CrewID: st.CrewID,
			LastSync: st.SyncedAt, TokenExpires: st.TokenExpires,
			Tasks: tx.Bucket(bucketReplica).Stats().KeyN, Verdicts: tx.Bucket(bucketVerdicts).Stats().KeyN,
			Kept:      tx.Bucket(bucketKept).Stats().KeyN,
			Remaining: st.Remaining, Watching: p.way(st), PersonalUntil: st.Lease.Until, Revoked: st.Revoked,
		}
		if st.Head != nil {
			s.Whole, s.Sequence = true, st.Head.Sequence
		}
		if !st.SyncedAt.IsZero() {
			s.LastSyncAge = p.clock().Sub(st.SyncedAt)
		}
		replaced := map[string]bool{}
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			replaced[q.mutation.GetAttachPhoto().GetPhoto().GetReplacesPhotoId()] = true
			if s.Queued == 0 {
				s.Oldest = q.mutation.GetRecorded().GetWall().AsTime()
			}
			s.Queued++
		}
		for task, err := range replica(tx) {
			if err != nil {
				return err
			}
			s.PhotosDamaged += len(damagedIn(task, st.DeviceID, replaced))
		}
		for ph, err := range photos(tx) {
			switch {
			case err != nil:
				return err
			case ph.State == photoRefused || ph.State == photoQuarantined:
				s.PhotosRefused++
			case ph.State == photoDamaged:
				s.PhotosLost++
			case ph.State != photoVerified:
				s.PhotosWaiting++
				s.PhotoBytes += ph.Size
			}
		}
		owed, err := owedReceipts(tx)
		s.ReceiptsOwed = len(owed)
		return err
	})
	return s, err
}

// Held is a task as the replica has it, with what waits in the outbox about it.
type Held struct {
	// Task is the server's truth as of the last sync.
	Task *fieldsyncv1.Task
	// Pending is what this phone has recorded since, oldest first.
	Pending []*fieldsyncv1.Mutation
}

// Tasks returns the tasks that this phone holds, by id, that is in the order of their creation.
func (p *Phone) Tasks() ([]Held, error) {
	if err := p.lapse(); err != nil {
		return nil, err
	}
	var all []Held
	err := p.view(func(tx *bolt.Tx, _ *state) error {
		pending := make(map[string][]*fieldsyncv1.Mutation)
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			pending[q.mutation.GetTaskId()] = append(pending[q.mutation.GetTaskId()], q.mutation)
		}
		for task, err := range replica(tx) {
			if err != nil {
				return err
			}
			all = append(all, Held{Task: task, Pending: pending[task.GetId()]})
		}
		return nil
	})
	return all, err
}

// Task returns one of them. NotFound "task_unknown" where it is not held.
func (p *Phone) Task(id string) (Held, error) {
	var h Held
	if err := p.lapse(); err != nil {
		return h, err
	}
	err := p.view(func(tx *bolt.Tx, _ *state) (err error) {
		if h.Task, err = getTask(tx, id); err != nil {
			return err
		}
		if h.Task == nil {
			return errTaskNotHeld(id)
		}
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			if q.mutation.GetTaskId() == id {
				h.Pending = append(h.Pending, q.mutation)
			}
		}
		return nil
	})
	return h, err
}

// Verdicts returns the mutations that did not simply take effect (merged, superseded, quarantined, rejected), with what the
// server said and all that was recorded, oldest first: the newest 1,000.
func (p *Phone) Verdicts() ([]Judged, error) {
	var all []Judged
	err := p.view(func(tx *bolt.Tx, _ *state) error {
		return tx.Bucket(bucketVerdicts).ForEach(func(_, value []byte) error {
			var record judged
			if err := json.Unmarshal(value, &record); err != nil {
				return err
			}
			j := Judged{record.InstallEpoch, new(fieldsyncv1.Mutation), new(fieldsyncv1.Verdict)}
			all = append(all, j)
			return errors.Join(proto.Unmarshal(record.Mutation, j.Mutation), proto.Unmarshal(record.Verdict, j.Verdict))
		})
	})
	return all, err
}
