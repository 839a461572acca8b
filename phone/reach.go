package phone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// keptFor is for how long what was acknowledged is kept at least, covered or not: an operator may restore to a while before the
// backup's end, as before a mistake was made.
const keptFor = 24 * time.Hour

// maxKept is how many acknowledged mutations are kept for a server whose backup does not come after, the newest.
const maxKept = 10_000

// reach is how far the server's backup went at the last sync.
type reach struct {
	History  uint32 `json:"history"`
	BackedUp uint64 `json:"backed_up"`
}

// kept is a mutation that was judged, of which the server's backup knows nothing yet.
type kept struct {
	InstallEpoch uint32 `json:"install_epoch"`
	// Position is where in the server's history the verdict is known to be.
	Position uint64 `json:"position"`
	// At is when it came, by the phone's wall clock.
	At       time.Time `json:"at"`
	Mutation []byte    `json:"mutation"`
}

// hearReach lets go of what the server's backup has by now. Where the server has another history than before, it was restored:
// what is kept goes back into the outbox, and is offered again behind this answer. It comes before the answer's own verdicts
// are settled, which belong to the new history. An answer that says nothing of it changes nothing.
func (p *Phone) hearReach(tx *bolt.Tx, st *state, heard *fieldsyncv1.BackupReach) (offered int, err error) {
	if heard == nil {
		return 0, nil
	}
	if st.Reach != nil && st.Reach.History != heard.GetHistory() {
		if offered, err = p.offerAgain(tx); err != nil {
			return 0, err
		}
	}
	st.Reach = &reach{History: heard.GetHistory(), BackedUp: heard.GetBackedUp()}
	if err := dropCovered(tx, heard.GetBackedUp(), p.clock().Add(-keptFor)); err != nil {
		return 0, err
	}
	return offered, placePhotos(tx, heard.GetPosition(), p.clock())
}

// dropCovered forgets what the backup holds and what came before a time. Positions rise with the places.
func dropCovered(tx *bolt.Tx, backedUp uint64, before time.Time) error {
	bucket := tx.Bucket(bucketKept)
	var gone [][]byte
	cursor := bucket.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		var k kept
		if err := json.Unmarshal(value, &k); err != nil {
			return err
		}
		if k.Position > backedUp || k.At.After(before) {
			break
		}
		gone = append(gone, bytes.Clone(key))
	}
	for _, key := range gone {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// placePhotos notes of photos that were verified since the last sync where that is in the server's history, at the latest.
func placePhotos(tx *bolt.Tx, position uint64, now time.Time) error {
	var fresh []*photo
	for ph, err := range photos(tx) {
		if err != nil {
			return err
		}
		if ph.State == photoVerified && ph.Position == 0 {
			fresh = append(fresh, ph)
		}
	}
	for _, ph := range fresh {
		ph.Position, ph.Placed = position, now
		if err := putJSON(tx.Bucket(bucketPhotos), []byte(ph.ID), ph); err != nil {
			return err
		}
	}
	return nil
}

// covered tells whether the copy of a verified photo may go: the server's backup has had the original for long enough, or the server
// has never said anything of a backup.
func (st *state) covered(ph *photo, now time.Time) bool {
	return st.Reach == nil || ph.Position != 0 && ph.Position <= st.Reach.BackedUp && !ph.Placed.After(now.Add(-keptFor))
}

// keepBeyond keeps a judged mutation until the server's backup has had it for long enough.
func (p *Phone) keepBeyond(tx *bolt.Tx, epoch uint32, m *fieldsyncv1.Mutation, heard *fieldsyncv1.BackupReach) error {
	if heard == nil {
		return nil
	}
	encoded, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	bucket := tx.Bucket(bucketKept)
	place, err := bucket.NextSequence()
	if err != nil {
		return err
	}
	if place > maxKept {
		if err := bucket.Delete(verdictKey(place - maxKept)); err != nil {
			return err
		}
	}
	return putJSON(bucket, verdictKey(place), &kept{
		InstallEpoch: epoch, Position: heard.GetPosition(), At: p.clock(), Mutation: encoded,
	})
}

// offerAgain puts everything that is kept back into the outbox, before what waits there and under its old number, and lets the
// photos that still lie here go up again: the server says of what it knows that it does.
func (p *Phone) offerAgain(tx *bolt.Tx) (offered int, err error) {
	attaching := make(map[string]bool)
	if err := tx.Bucket(bucketKept).ForEach(func(_, value []byte) error {
		var k kept
		if err := json.Unmarshal(value, &k); err != nil {
			return err
		}
		m := new(fieldsyncv1.Mutation)
		if err := proto.Unmarshal(k.Mutation, m); err != nil {
			return fmt.Errorf("reading a kept mutation: %w", err)
		}
		offered++
		attaching[m.GetAttachPhoto().GetPhoto().GetPhotoId()] = true
		return putQueued(tx, queued{epoch: k.InstallEpoch, mutation: m})
	}); err != nil {
		return 0, err
	}
	if err := empty(tx, bucketKept); err != nil {
		return 0, err
	}
	var again []*photo
	for ph, err := range photos(tx) {
		if err != nil {
			return 0, err
		}
		if ph.State == photoVerified || ph.State == photoAttached {
			again = append(again, ph)
		}
	}
	for _, ph := range again {
		ph.Position, ph.Placed, ph.State = 0, time.Time{}, photoAttached
		if attaching[ph.ID] {
			ph.State = photoQueued
		}
		if err := putJSON(tx.Bucket(bucketPhotos), []byte(ph.ID), ph); err != nil {
			return 0, err
		}
	}
	if offered > 0 {
		p.log.Warn("the server has forgotten what it had acknowledged, and is offered it again", "mutations", offered)
	}
	return offered, nil
}

// fallenBehind are the errors of a server that was restored to before the numbers that it is offered.
var fallenBehind = map[string]bool{"mutation_gap": true, "install_epoch_unknown": true}

// offerKept is offerAgain on an error that says so, before any answer has.
func (p *Phone) offerKept() (offered int, err error) {
	err = p.update(func(tx *bolt.Tx, st *state) error {
		if offered, err = p.offerAgain(tx); offered > 0 {
			st.Reach = nil // The next answer brings the new one.
		}
		return err
	})
	return offered, err
}
