package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// An original can be lost though a record says that it arrived: the server was restored from a backup that had the record and not
// yet the bytes, or the store of originals was damaged. The phone that declares the photo once more is the way to get it back.

// lost tells whether the original of an upload that was closed is not kept any more.
func (s *Service) lost(ctx context.Context, upload *storagev1.Upload) (bool, error) {
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		return false, nil
	}
	content, _, err := s.blobs.Open(ctx, [sha256.Size]byte(upload.GetSha256()))
	switch {
	case errors.Is(err, ErrBlobNotFound):
		return true, nil
	case err != nil:
		return false, s.storeFailed(ctx, upload.GetId(), err)
	}
	return false, content.Close()
}

// reopen has an upload whose original was lost begin anew for the task, under its id. Its photos are on the phone again, for
// everybody to see; a seal that was made while the bytes were here stays.
func (s *Service) reopen(tx *store.Tx, id, task string) (*storagev1.Upload, error) {
	upload, err := store.Get(tx, store.UploadKey(id))
	if err != nil {
		return nil, err
	}
	if upload == nil {
		return nil, uploadUnknown()
	}
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		return upload, nil // A rival was first.
	}
	if s.spool.full() {
		return nil, spoolFull()
	}
	if err := openUploadsBounded(tx, upload.GetDeviceId()); err != nil {
		return nil, err
	}
	if !slices.Contains(upload.GetTaskIds(), task) {
		if err := addTask(upload, task); err != nil {
			return nil, err
		}
	}
	for _, waiting := range upload.GetTaskIds() {
		record, err := store.Get(tx, store.TaskKey(waiting))
		if err != nil {
			return nil, err
		}
		if err := s.unsettlePhotos(tx, record, upload); err != nil {
			return nil, err
		}
	}
	upload.State, upload.CreatedAt = fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE, tx.Timestamp()
	idOnly := &storagev1.Upload{Id: id}
	if err := store.Delete(tx, store.ReceivedUploadKey(id)); err != nil {
		return nil, err
	}
	if err := store.Put(tx, store.OpenUploadKey(upload.GetDeviceId(), id), idOnly); err != nil {
		return nil, err
	}
	return upload, store.Put(tx, store.UploadKey(id), upload)
}

// unsettlePhotos brings the task's photos that have the bytes of the upload back to where they wait for them.
func (s *Service) unsettlePhotos(tx *store.Tx, record *storagev1.TaskRecord, upload *storagev1.Upload) error {
	var revision uint64
	for _, photo := range record.GetTask().GetPhotos() {
		if photo.GetDeviceId() != upload.GetDeviceId() || !bytes.Equal(photo.GetSha256(), upload.GetSha256()) {
			continue
		}
		if revision == 0 {
			revision = store.NextRevision(record)
		}
		photo.State, photo.Revision = fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE, revision
	}
	if revision == 0 {
		return nil
	}
	if err := s.photosChanged(tx, record, revision); err != nil {
		return err
	}
	return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_UNSPECIFIED)
}
