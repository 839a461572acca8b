package media

import (
	"bytes"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// settle closes the upload and brings its photo, in each task that waits for it, to the state that look allows. It may run
// again, for the same look or after one with none.
func (s *Service) settle(tx *store.Tx, id string, look *storagev1.Look) error {
	upload, err := store.Get(tx, store.UploadKey(id))
	if err != nil {
		return err
	}
	if upload == nil {
		return uploadUnknown()
	}
	if err := notDoomed(tx, upload.GetSha256(), look.GetThumbnailSha256()); err != nil {
		return err
	}
	idOnly := &storagev1.Upload{Id: id}
	if look == nil {
		err = store.Put(tx, store.ReceivedUploadKey(id), idOnly)
	} else if err = store.Delete(tx, store.ReceivedUploadKey(id)); err == nil {
		err = store.Put(tx, store.LookKey(upload.GetSha256()), look)
	}
	if err != nil {
		return err
	}
	upload.State = stateOf(look)
	if err := store.Put(tx, store.UploadKey(id), upload); err != nil {
		return err
	}
	if err := store.Delete(tx, store.OpenUploadKey(upload.GetDeviceId(), id)); err != nil {
		return err
	}
	for _, task := range upload.GetTaskIds() {
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		if err := s.settlePhotos(tx, record, upload, look); err != nil {
			return err
		}
	}
	return nil
}

// settlePhotos brings the task's photos that have the bytes of the upload to the state that look allows, with what was found.
// Where there is none left to bring, the task does not change.
func (s *Service) settlePhotos(tx *store.Tx, record *storagev1.TaskRecord, upload *storagev1.Upload, look *storagev1.Look) error {
	state, task := stateOf(look), record.GetTask()
	var revision uint64
	for _, photo := range task.GetPhotos() {
		// A photo whose bytes were here before it was attached is verified already, and not yet judged.
		settled := photo.GetState() == state && (look == nil || photo.GetLook() != nil)
		if settled || photo.GetDeviceId() != upload.GetDeviceId() || !bytes.Equal(photo.GetSha256(), upload.GetSha256()) {
			continue
		}
		if revision == 0 {
			revision = store.NextRevision(record)
		}
		photo.State, photo.Revision = state, revision
		if err := holdArrived(tx, task.GetTicket().GetTicketId(), photo.GetSha256()); err != nil {
			return err
		}
		if look == nil {
			continue
		}
		photo.Look = look.GetLook()
		if err := findInTask(tx, task, photo, look); err != nil {
			return err
		}
		flagReview(task, photo.GetFindings(), revision)
	}
	if revision == 0 {
		return nil
	}
	if err := s.photosChanged(tx, record, revision); err != nil {
		return err
	}
	return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_UNSPECIFIED)
}

// findInTask judges a photo by its claims, its task and the photos that came before it, and enters it into the index.
func findInTask(tx *store.Tx, task *fieldsyncv1.Task, photo *fieldsyncv1.Photo, look *storagev1.Look) error {
	e := evidence{photo: photo, look: look, ticket: task.GetTicket()}
	if look.GetDamage() == nil {
		var err error
		if e.reused, e.near, e.bits, err = reuse(tx, task, photo.GetSha256(), look); err != nil {
			return err
		}
		if e.partners, err = partners(tx, task, photo); err != nil {
			return err
		}
		if err := remember(tx, task, photo, look); err != nil {
			return err
		}
	}
	photo.Findings = judge(e)
	return nil
}

// partners are the photos of the other side, before or after, that were looked into already.
func partners(tx *store.Tx, task *fieldsyncv1.Task, photo *fieldsyncv1.Photo) (found []partner, err error) {
	const before, after = fieldsyncv1.PhotoKind_PHOTO_KIND_BEFORE, fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER
	for _, other := range task.GetPhotos() {
		opposite := photo.GetKind() == before && other.GetKind() == after || photo.GetKind() == after && other.GetKind() == before
		if !opposite || other.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
			continue
		}
		look, err := store.Get(tx, store.LookKey(other.GetSha256()))
		if err != nil {
			return nil, err
		}
		if look != nil {
			found = append(found, partner{other, look})
		}
	}
	return found, nil
}

// flagReview flags the task where a finding wants a person's eyes.
func flagReview(task *fieldsyncv1.Task, findings []*fieldsyncv1.Finding, revision uint64) {
	for _, finding := range findings {
		if status := task.GetStatus(); finding.GetReview() && status != nil {
			status.Review, status.Revision = true, revision
		}
	}
}
