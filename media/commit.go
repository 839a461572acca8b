package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/gabriel-vasile/mimetype"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// blobsRetryAfter is how long a phone waits while the originals cannot be kept.
const blobsRetryAfter = 30 * time.Second

// Commit implements the MediaService. When it answers, the original is durable and so is the fact that it is verified.
//
// Each step can be repeated, and a crash between any two leaves the phone free to commit again:
//   - before Put returns: the bytes lie in the spool and the upload is open, as before the call;
//   - after Put, before the transaction: the original is kept, nothing refers to it yet. The next Commit finds it kept;
//   - after the transaction: the photo is verified, its bytes still lie in the spool. The next Commit, or the sweep
//     of the next start, removes them.
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
	if upload.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
		if err := s.keep(ctx, upload); err != nil {
			return nil, err
		}
		if err := s.store.Update(ctx, func(tx *store.Tx) error { return s.verify(tx, upload.GetId()) }); err != nil {
			return nil, err
		}
		s.log.InfoContext(ctx, "photo verified", "upload", upload.GetId(), "device", upload.GetDeviceId(), "bytes", upload.GetSizeBytes())
	}
	s.unspool(ctx, upload)
	return &fieldsyncv1.CommitResponse{
		State:  fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED,
		Sha256: upload.GetSha256(),
	}, nil
}

// keep puts the spooled bytes where originals are kept, if they are all here and are what was declared.
func (s *Service) keep(ctx context.Context, upload *storagev1.Upload) error {
	file, err := s.spool.open(upload.GetId())
	if errors.Is(err, fs.ErrNotExist) {
		return uploadIncomplete()
	}
	if err != nil {
		return fmt.Errorf("looking into the spool: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("looking into the spool: %w", err)
	}
	if uint64(info.Size()) < upload.GetSizeBytes() { //nolint:gosec // The size of a file.
		return uploadIncomplete()
	}
	if err := s.sniff(ctx, upload, file); err != nil {
		return err
	}
	switch err := s.blobs.Put(ctx, [sha256.Size]byte(upload.GetSha256()), file); {
	case err == nil:
		return nil
	case errors.Is(err, ErrBlobMismatch):
		return s.drop(ctx, upload)
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		s.log.ErrorContext(ctx, "an original cannot be kept", "upload", upload.GetId(), "error", err)
		unavailable := fault.New(fault.Unavailable, "photo_store_unavailable",
			"Kho ảnh tạm thời không nhận được ảnh; dữ liệu đã gửi vẫn còn. Hãy thử lại sau.",
			"The store of photos cannot take the photo now; what was sent is still here. Try again later.")
		unavailable.RetryAfter = blobsRetryAfter
		return unavailable
	}
}

// sniff says in the log when the bytes are not of the declared type. It refuses nothing: what a crew has sent as evidence is
// kept as it is, and the hash says that it is what they sent.
func (s *Service) sniff(ctx context.Context, upload *storagev1.Upload, file io.ReadSeeker) error {
	var head bytes.Buffer
	// HEIC tells itself apart within its first box; JPEG, PNG and WebP within 12 bytes.
	if _, err := io.CopyN(&head, file, 512); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("looking into the spool: %w", err)
	}
	if found := mimetype.Detect(head.Bytes()).String(); family(found) != family(upload.GetContentType()) {
		s.log.WarnContext(ctx, "a photo is not of the type declared",
			"upload", upload.GetId(), "declared", upload.GetContentType(), "found", found)
	}
	return nil
}

// family makes the media types of one container the same: phones say heic and heif of the same file.
func family(mediaType string) string {
	if strings.HasPrefix(mediaType, "image/heic") || strings.HasPrefix(mediaType, "image/heif") {
		return "image/heif"
	}
	return mediaType
}

// drop forgets an upload whose bytes are not what was declared, so that the photo can be declared again. A crash after the
// transaction leaves the bytes to the sweep.
func (s *Service) drop(ctx context.Context, upload *storagev1.Upload) error {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
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
	s.log.WarnContext(ctx, "a photo is not what was declared", "upload", upload.GetId(), "device", upload.GetDeviceId())
	s.unspool(ctx, upload)
	return fault.New(fault.DataLoss, "photo_hash_mismatch",
		"Dữ liệu nhận được không khớp với mã băm đã khai báo: hãy khai báo và gửi lại ảnh.",
		"The bytes received do not have the hash declared: declare the photo and send it again.")
}

// unspool removes the bytes of an upload that is no longer open. They are only in the way: the sweep tries again.
func (s *Service) unspool(ctx context.Context, upload *storagev1.Upload) {
	if err := s.spool.remove(upload.GetId()); err != nil {
		s.log.WarnContext(ctx, "spooled bytes cannot be removed", "upload", upload.GetId(), "error", err)
	}
}

// verify closes the upload and verifies the photo in each task that waits for it.
func (s *Service) verify(tx *store.Tx, id string) error {
	upload, err := store.Get(tx, store.UploadKey(id))
	if err != nil {
		return err
	}
	switch {
	case upload == nil:
		return uploadUnknown()
	case upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED:
		return nil // By a Commit that ran beside this one.
	}
	upload.State = fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED
	if err := store.Put(tx, store.UploadKey(id), upload); err != nil {
		return err
	}
	if err := store.Delete(tx, store.OpenUploadKey(upload.GetDeviceId(), id)); err != nil {
		return err
	}
	for _, task := range upload.GetTaskIds() {
		if err := s.verifyPhotos(tx, task, upload); err != nil {
			return err
		}
	}
	return nil
}

// verifyPhotos marks the task's photos that have the bytes of the verified upload. Where there is none left to mark, the
// task does not change.
func (s *Service) verifyPhotos(tx *store.Tx, task string, upload *storagev1.Upload) error {
	record, err := store.Get(tx, store.TaskKey(task))
	if err != nil {
		return err
	}
	var revision uint64
	for _, photo := range record.GetTask().GetPhotos() {
		if photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE ||
			photo.GetDeviceId() != upload.GetDeviceId() || !bytes.Equal(photo.GetSha256(), upload.GetSha256()) {
			continue
		}
		if revision == 0 {
			revision = store.NextRevision(record)
		}
		photo.State, photo.Revision = fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED, revision
	}
	if revision == 0 {
		return nil
	}
	if s.photosVerified != nil {
		if err := s.photosVerified(tx, record, revision); err != nil {
			return err
		}
	}
	return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_UNSPECIFIED)
}

func uploadIncomplete() error {
	return fault.New(fault.Precondition, "upload_incomplete",
		"Chưa nhận đủ dữ liệu của ảnh: hãy hỏi vị trí hiện tại rồi gửi tiếp.",
		"Bytes of the photo are missing: ask for the offset and send the rest.")
}
