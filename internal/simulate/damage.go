package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// errPhoneDisk is what a phone's own storage fails with.
var errPhoneDisk = errors.New("simulated: the phone's storage is full")

// nextDisk is what becomes of the next write on a phone.
func (w *world) nextDisk() error {
	if w.off || w.action == nil || w.action.disk == 0 || w.depth > 1 || w.opening {
		return nil
	}
	w.writes++
	if w.writes != w.action.disk {
		return nil
	}
	w.injected["phone-storage-error"]++
	return errPhoneDisk
}

// damage changes a phone's replica behind its back, as a bad flash or a foreign hand would: a task is missing, is older than
// the phone believes, or was never in the scope.
func (w *world) damage(h *handset, how int) string {
	w.injected["replica-damaged"]++
	w.must("closing a phone", h.phone.Close())
	db, err := bolt.Open(filepath.Join(h.dir, "phone.db"), 0o600, &bolt.Options{Timeout: time.Second, NoSync: true, NoGrowSync: true})
	if err != nil {
		w.must("opening a phone's database", err)
		return ""
	}
	said := nothing
	err = db.Update(func(tx *bolt.Tx) error {
		replica := tx.Bucket([]byte("replica"))
		var ids [][]byte
		if err := replica.ForEach(func(id, _ []byte) error {
			ids = append(ids, bytes.Clone(id))
			return nil
		}); err != nil || len(ids) == 0 {
			return err
		}
		h.damaged = true
		id := ids[how/3%len(ids)]
		said = "loses " + string(id)
		if how%3 == 0 {
			return replica.Delete(id)
		}
		task := &fieldsyncv1.Task{}
		if err := proto.Unmarshal(replica.Get(id), task); err != nil {
			return err
		}
		if how%3 == 1 {
			said = "has an old " + string(id)
			task.Revision--
			task.Notes = task.GetNotes()[:len(task.GetNotes())/2]
		} else {
			said = "has a ghost of " + string(id)
			task.Id = "ghost-" + task.GetId()
		}
		encoded, err := proto.Marshal(task)
		if err != nil {
			return err
		}
		return replica.Put([]byte(task.GetId()), encoded)
	})
	w.must("damaging a replica", errors.Join(err, db.Close()))
	w.must("opening a phone", h.open())
	return h.name + " " + said
}
