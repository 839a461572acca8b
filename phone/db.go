package phone

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// The layout of phone.db: what each bucket maps to what.
var (
	// "state" → state as JSON.
	bucketState = []byte("state")
	// install epoch (4 bytes, big-endian), number (8 bytes) → fieldsync.v1.Mutation. In the order in which they were
	// recorded and are sent; gone once judged.
	bucketOutbox = []byte("outbox")
	// task id → fieldsync.v1.Task, the server's truth as of the cursor.
	bucketReplica = []byte("replica")
	// rising number (8 bytes) → judged as JSON: what did not simply take effect.
	bucketVerdicts = []byte("verdicts")
	// rising number (8 bytes) → kept as JSON: what was judged and lies beyond the reach of the server's backup.
	bucketKept = []byte("kept")
	// photo id → photo as JSON. The bytes lie in photos/<photo id>.
	bucketPhotos = []byte("photos")
	// completion id → Receipt as JSON: of this phone's own completions, owed or held. Never deleted.
	bucketReceipts = []byte("receipts")
)

var keyState = []byte("state")

// format is raised when the layout changes in a way that an older phone would misread.
const format = 1

// state is everything of which a phone has one.
type state struct {
	Format int `json:"format"`
	// Key is the device's private key, PKCS #8. A phone with a keystore keeps it there, out of reach even of the app.
	Key []byte `json:"key,omitempty"`
	// The rest of the identity is there once enrolled.
	Server       string    `json:"server,omitempty"`
	DeviceID     string    `json:"device_id,omitempty"`
	MemberID     string    `json:"member_id,omitempty"`
	MemberName   string    `json:"member_name,omitempty"`
	CrewID       string    `json:"crew_id,omitempty"`
	Token        string    `json:"token,omitempty"`
	TokenExpires time.Time `json:"token_expires,omitzero"`
	// InstallEpoch and LastNumber: the next mutation is LastNumber+1 of this epoch.
	InstallEpoch uint32 `json:"install_epoch,omitempty"`
	LastNumber   uint64 `json:"last_number,omitempty"`
	// Forked: a number of this phone was used for something else, by a copy of it or before it was put back to an older
	// state. The following ones may have been, too: nothing goes out before they are those of another install epoch.
	Forked bool `json:"forked,omitempty"`
	// Cursor is empty before the first sync and after a mismatch: then the next answer replaces the whole replica.
	Cursor []byte `json:"cursor,omitempty"`
	// Head is the scope as the newest whole answer saw it. Absent while pages are missing, and while the replica is known to
	// differ from it.
	Head *head `json:"head,omitempty"`
	// Left is the replica's digest as the last answer left it. Absent where that was wrong.
	Left *digest `json:"left,omitempty"`
	// Reach is how far the server's backup went. Absent while the server has said nothing of it.
	Reach *reach `json:"reach,omitempty"`
	// Remaining is how many tasks the server had waiting behind the cursor.
	Remaining uint64    `json:"remaining,omitempty"`
	SyncedAt  time.Time `json:"synced_at,omitzero"`
	// PollSince is when streams were found not to live on this network.
	PollSince time.Time `json:"poll_since,omitzero"`
	Heard     heard     `json:"heard,omitzero"`
	// ClockOffset is the server's time minus the phone's wall clock, when last heard.
	ClockOffset time.Duration `json:"clock_offset,omitempty"`
	// LogKeys are the public keys of the server's proof log, one a line.
	LogKeys string `json:"log_keys,omitempty"`
	// Lease is for how long citizens' names and phone numbers may be kept.
	Lease lease `json:"lease,omitzero"`
	// Revoked: the server has said so. Nothing is read any more; what was recorded is still delivered.
	Revoked bool `json:"revoked,omitempty"`
	// Scrub: something was erased that still lies in pages which are free, see scrub.
	Scrub bool `json:"scrub,omitempty"`
}

type head struct {
	digest

	Sequence uint64 `json:"sequence"`
}

// digest says what a replica holds: how many tasks, and the sum of their digests.
type digest struct {
	Tasks uint64 `json:"tasks"`
	Sum   uint64 `json:"digest"`
}

// forget gives the replica up: the next answer brings all of it.
func (st *state) forget() { st.Cursor, st.Head, st.Left = nil, nil, nil }

type heard struct {
	ServerTime  time.Time `json:"server_time"`
	SinceBootMS uint64    `json:"since_boot_ms"`
	BootID      string    `json:"boot_id"`
}

// photoState says how far a photo has come on its way off the phone.
type photoState string

const (
	// photoQueued: its attach waits in the outbox.
	photoQueued photoState = "queued"
	// photoAttached: the server knows it and wants its bytes.
	photoAttached photoState = "attached"
	// photoRefused: the attach was rejected. The bytes stay, for whoever is asked about it.
	photoRefused photoState = "refused"
	// photoQuarantined: the attach waits for a dispatcher. Once it is released, the photo shows up in its task.
	photoQuarantined photoState = "quarantined"
	// photoVerified: the bytes are kept by the server; the copy goes as soon as nothing in the outbox speaks of it and the
	// server's backup has it.
	photoVerified photoState = "verified"
	// photoDamaged: the copy on the phone is not what was recorded any more. It stays, and is not sent.
	photoDamaged photoState = "damaged"
)

// photo is one that still lies on the phone.
type photo struct {
	ID     string     `json:"id"`
	TaskID string     `json:"task_id"`
	Size   uint64     `json:"size"`
	State  photoState `json:"state"`
	// SHA256 is that of the copy when it was made. Absent in what an older version has recorded.
	SHA256 []byte `json:"sha256,omitempty"`
	// Previewed: a small picture of it has gone, or none can be made.
	Previewed bool `json:"previewed,omitempty"`
	// Position is where in the server's history it was verified, at the latest. 0 before the sync that says so.
	Position uint64 `json:"position,omitempty"`
	// Placed is when that was said, by the phone's wall clock.
	Placed time.Time `json:"placed,omitzero"`
}

// judged is the record of a mutation that did not simply take effect.
type judged struct {
	InstallEpoch uint32 `json:"install_epoch"`
	Mutation     []byte `json:"mutation"`
	Verdict      []byte `json:"verdict"`
}

func initialise(tx *bolt.Tx) error {
	for _, bucket := range [][]byte{bucketState, bucketOutbox, bucketReplica, bucketVerdicts, bucketKept, bucketPhotos, bucketReceipts} {
		if _, err := tx.CreateBucketIfNotExists(bucket); err != nil {
			return err
		}
	}
	if tx.Bucket(bucketState).Get(keyState) == nil {
		return saveState(tx, &state{Format: format})
	}
	st, err := loadState(tx)
	if err == nil && st.Format != format {
		err = fmt.Errorf("phone.db has format %d, this version reads %d", st.Format, format)
	}
	return err
}

func loadState(tx *bolt.Tx) (*state, error) {
	st := new(state)
	if err := json.Unmarshal(tx.Bucket(bucketState).Get(keyState), st); err != nil {
		return nil, fmt.Errorf("reading the phone's state: %w", err)
	}
	return st, nil
}

func saveState(tx *bolt.Tx, st *state) error { return putJSON(tx.Bucket(bucketState), keyState, st) }

// readable runs what reads the database, and turns its failing over a page that cannot be parsed, or that a file that was cut does not
// have, into an error: bbolt, which maps the file, has no other way to tell. What was begun is rolled back by then.
func readable(dir string, read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if failure := recover(); failure != nil {
			err = errDatabase(dir, failure)
		}
	}()
	return withRoom(read())
}

// view runs f over a consistent snapshot.
func (p *Phone) view(f func(tx *bolt.Tx, st *state) error) error {
	p.reading.RLock()
	defer p.reading.RUnlock()
	return readable(p.dir, func() error {
		return p.db.View(func(tx *bolt.Tx) error {
			st, err := loadState(tx)
			if err != nil {
				return err
			}
			return f(tx, st)
		})
	})
}

// update runs f in a transaction and saves st with it: all of it is durable once update returns nil, none of it otherwise.
func (p *Phone) update(f func(tx *bolt.Tx, st *state) error) error {
	return readable(p.dir, func() error {
		return p.db.Update(func(tx *bolt.Tx) error {
			st, err := loadState(tx)
			if err != nil {
				return err
			}
			if !st.Lease.Until.IsZero() {
				st.Lease.Newest = p.leaseNow(st)
			}
			if err := f(tx, st); err != nil {
				return err
			}
			if err := p.fail("commit"); err != nil {
				return err
			}
			return saveState(tx, st)
		})
	})
}

// queued is a mutation in the outbox.
type queued struct {
	epoch    uint32
	mutation *fieldsyncv1.Mutation
}

func outboxKey(epoch uint32, number uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, epoch), number)
}

func verdictKey(place uint64) []byte { return binary.BigEndian.AppendUint64(nil, place) }

func putQueued(tx *bolt.Tx, q queued) error {
	return putProto(tx.Bucket(bucketOutbox), outboxKey(q.epoch, q.mutation.GetNumber()), q.mutation)
}

// outbox yields what waits for a verdict, oldest first.
func outbox(tx *bolt.Tx) iter.Seq2[queued, error] {
	return func(yield func(queued, error) bool) {
		cursor := tx.Bucket(bucketOutbox).Cursor()
		for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
			q := queued{epoch: binary.BigEndian.Uint32(k), mutation: new(fieldsyncv1.Mutation)}
			err := proto.Unmarshal(v, q.mutation)
			if !yield(q, err) || err != nil {
				return
			}
		}
	}
}

// replica yields the tasks held, by id.
func replica(tx *bolt.Tx) iter.Seq2[*fieldsyncv1.Task, error] {
	return func(yield func(*fieldsyncv1.Task, error) bool) {
		cursor := tx.Bucket(bucketReplica).Cursor()
		for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
			task := new(fieldsyncv1.Task)
			err := proto.Unmarshal(v, task)
			if !yield(task, err) || err != nil {
				return
			}
		}
	}
}

// getTask returns nil where the task is not held.
func getTask(tx *bolt.Tx, id string) (*fieldsyncv1.Task, error) {
	value := tx.Bucket(bucketReplica).Get([]byte(id))
	if value == nil {
		return nil, nil //nolint:nilnil // Absent is a normal answer here.
	}
	task := new(fieldsyncv1.Task)
	return task, proto.Unmarshal(value, task)
}

// photos yields the photos that still lie on the phone, by id.
func photos(tx *bolt.Tx) iter.Seq2[*photo, error] {
	return func(yield func(*photo, error) bool) {
		cursor := tx.Bucket(bucketPhotos).Cursor()
		for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
			ph := new(photo)
			err := json.Unmarshal(v, ph)
			if !yield(ph, err) || err != nil {
				return
			}
		}
	}
}

// setPhoto moves the photo on. One that is gone already stays gone.
func setPhoto(tx *bolt.Tx, id string, to photoState) error {
	return changePhoto(tx, id, func(ph *photo) { ph.State = to })
}

func changePhoto(tx *bolt.Tx, id string, change func(*photo)) error {
	bucket := tx.Bucket(bucketPhotos)
	value := bucket.Get([]byte(id))
	if value == nil {
		return nil
	}
	var ph photo
	if err := json.Unmarshal(value, &ph); err != nil {
		return err
	}
	change(&ph)
	return putJSON(bucket, []byte(id), &ph)
}

func putJSON(bucket *bolt.Bucket, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return bucket.Put(key, value)
}

func putProto(bucket *bolt.Bucket, key []byte, m proto.Message) error {
	value, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return bucket.Put(key, value)
}

// empty removes everything in a bucket.
func empty(tx *bolt.Tx, bucket []byte) error {
	if err := tx.DeleteBucket(bucket); err != nil {
		return err
	}
	_, err := tx.CreateBucket(bucket)
	return err
}
