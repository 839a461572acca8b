package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"strings"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// blobsRetryAfter is how long a phone waits while the originals cannot be kept.
const blobsRetryAfter = 30 * time.Second

// Commit implements the MediaService. When it answers, the original is durable and so is the fact that it is here.
//
// Each step can be repeated, and a crash between any two leaves the phone free to commit again:
//   - before Put returns: the bytes lie in the spool and the upload is open, as before the call;
//   - after Put, before the transaction: the original is kept, nothing refers to it yet. The next Commit finds it kept;
//   - after the transaction: the photo has arrived. Where it was looked into, the next Commit, or the sweep of the next start,
//     removes its bytes from the spool; where not, the worker does both.
func (s *Service) Commit(ctx context.Context, req *fieldsyncv1.CommitRequest) (*fieldsyncv1.CommitResponse, error) {
	// A phone that has waited too long repeats its call while the first is still at work.
	lock, err := s.commits.NewLock(req.GetUploadId())
	if err != nil {
		return nil, err
	}
	if err := lock.Lock(ctx, func() {}); err != nil {
		return nil, ctx.Err()
	}
	defer func() { _ = lock.Unlock() }() // Never fails.
	upload, err := s.ownUpload(ctx, req.GetUploadId())
	if err != nil {
		return nil, err
	}
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		if err := s.keep(ctx, upload); err != nil {
			return nil, err
		}
		if err := s.arrived(ctx, upload, s.lookNow(ctx, upload)); err != nil {
			return nil, err
		}
	}
	if upload.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED {
		s.unspool(ctx, upload)
	}
	return &fieldsyncv1.CommitResponse{State: upload.GetState(), Sha256: upload.GetSha256()}, nil
}

// arrived records, durably, that the original is kept and, unless look is nil, what is in it. It sets the state of upload.
func (s *Service) arrived(ctx context.Context, upload *storagev1.Upload, look *storagev1.Look) error {
	state := stateOf(look)
	err := s.store.Update(ctx, func(tx *store.Tx) error { return s.settle(tx, upload.GetId(), look) })
	if err != nil {
		return err
	}
	upload.State = state
	switch state {
	case fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED:
		select {
		case s.looks.received <- struct{}{}:
		default: // The worker is awake.
		}
	case fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED:
		s.log.WarnContext(ctx, "a photo is damaged", "upload", upload.GetId(), "device", upload.GetDeviceId(), "finding", look.GetDamage().GetCode())
	default:
		s.log.InfoContext(ctx, "photo verified", "upload", upload.GetId(), "device", upload.GetDeviceId(), "bytes", upload.GetSizeBytes())
	}
	return nil
}

// stateOf is the state of a photo of which look was found; nil: nobody has looked.
func stateOf(look *storagev1.Look) fieldsyncv1.PhotoState {
	switch {
	case look == nil:
		return fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED
	case look.GetDamage() != nil:
		return fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED
	default:
		return fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED
	}
}

// keep puts the spooled bytes where originals are kept, if they are all here and are what was declared.
func (s *Service) keep(ctx context.Context, upload *storagev1.Upload) error {
	spooled, size, err := s.spool.bytes.Open(ctx, upload.GetId())
	if errors.Is(err, fs.ErrNotExist) {
		return uploadIncomplete()
	}
	if err != nil {
		return s.storeFailed(ctx, upload.GetId(), err)
	}
	defer spooled.Close()
	if uint64(size) < upload.GetSizeBytes() { //nolint:gosec // A size.
		return uploadIncomplete()
	}
	switch err := s.blobs.Put(ctx, [sha256.Size]byte(upload.GetSha256()), spooled); {
	case err == nil:
		return nil
	case errors.Is(err, ErrBlobMismatch):
		return s.drop(ctx, upload)
	default:
		return s.storeFailed(ctx, upload.GetId(), err)
	}
}

// storeFailed logs what is wrong with the store of originals and returns what a client may know of it.
func (s *Service) storeFailed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.log.ErrorContext(ctx, "the store of photos failed", "photo", what, "error", err)
	return storeUnavailable()
}

// family makes the media types of one container the same: phones say heic and heif of the same file.
func family(mediaType string) string {
	if strings.HasPrefix(mediaType, "image/heic") || strings.HasPrefix(mediaType, "image/heif") {
		return "image/heif"
	}
	return mediaType
}

// drop forgets an upload whose bytes are not what was declared, so that the photo can be declared again.
func (s *Service) drop(ctx context.Context, upload *storagev1.Upload) error {
	if err := s.forget(ctx, upload); err != nil {
		return err
	}
	s.log.WarnContext(ctx, "a photo is not what was declared", "upload", upload.GetId(), "device", upload.GetDeviceId())
	return fault.New(fault.DataLoss, "photo_hash_mismatch",
		"Dữ liệu nhận được không khớp với mã băm đã khai báo: hãy khai báo và gửi lại ảnh.",
		"The bytes received do not have the hash declared: declare the photo and send it again.")
}

// forget removes an open upload. A crash after the transaction leaves the bytes to the sweep.
func (s *Service) forget(ctx context.Context, upload *storagev1.Upload) error {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		now, err := store.Get(tx, store.UploadKey(upload.GetId()))
		if err != nil || now.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
			return err // Gone, or committed meanwhile.
		}
		if err := store.Delete(tx, store.DeviceUploadKey(upload.GetDeviceId(), upload.GetSha256())); err != nil {
			return err
		}
		if err := store.Delete(tx, store.OpenUploadKey(upload.GetDeviceId(), upload.GetId())); err != nil {
			return err
		}
		return store.Delete(tx, store.UploadKey(upload.GetId()))
	})
	if err != nil {
		return err
	}
	s.unspool(ctx, upload)
	return nil
}

// unspool removes the bytes of an upload that is no longer open. They are only in the way: the sweep tries again.
func (s *Service) unspool(ctx context.Context, upload *storagev1.Upload) {
	if err := s.spool.remove(ctx, upload.GetId()); err != nil {
		s.log.WarnContext(ctx, "spooled bytes cannot be removed", "upload", upload.GetId(), "error", err)
	}
}

func uploadIncomplete() error {
	return fault.New(fault.Precondition, "upload_incomplete",
		"Chưa nhận đủ dữ liệu của ảnh: hãy hỏi vị trí hiện tại rồi gửi tiếp.",
		"Bytes of the photo are missing: ask for the offset and send the rest.")
}
