package media

import (
	"context"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

// defaultUploadTTL is how long an upload waits for its next byte. The phone keeps the photo and declares it anew.
const defaultUploadTTL = 30 * 24 * time.Hour

// expire forgets the open uploads of which nothing was heard for as long as they wait. The declaration on the task stays: that the photo is
// still on the phone remains true.
func (s *Service) expire(ctx context.Context) error {
	var old []*storagev1.Upload
	limit := s.store.Now().Add(-s.uploadTTL)
	err := s.store.View(ctx, func(tx *store.Tx) error {
		for open, err := range store.Scan(tx, store.AllOpenUploads(), nil) {
			if err != nil {
				return err
			}
			upload, err := store.Get(tx, store.UploadKey(open.GetId()))
			if err != nil {
				return err
			}
			if upload != nil && upload.GetCreatedAt().AsTime().Before(limit) {
				old = append(old, upload)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, upload := range old {
		changed, err := s.spool.bytes.Changed(ctx, upload.GetId())
		if err != nil {
			return err
		}
		if changed.After(limit) {
			continue
		}
		lock, err := s.commits.NewLock(upload.GetId())
		if err != nil {
			return err
		}
		if err := lock.Lock(ctx, func() {}); err != nil {
			return err
		}
		err = s.forget(ctx, upload)
		_ = lock.Unlock() // Never fails.
		if err != nil {
			return err
		}
		s.log.InfoContext(ctx, "an upload expired", "upload", upload.GetId(), "device", upload.GetDeviceId())
	}
	return nil
}
