package media

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/media/picture"
	"github.com/cong1022/fieldsync/store"
)

const (
	maxPreviewBytes = 64 << 10
	// maxPreviewPixels keeps the looking cheap: no place among the looks is asked for.
	maxPreviewPixels = 1 << 20
)

// servePreview takes a small picture of a photo whose original is still on the phone: JPEG, PNG or WebP, at most 64 KiB and a
// megapixel, better 8 KiB. It is shown as the photo's thumbnail until the original has come, and proves nothing. Safe to
// repeat. It is durable when 204 is answered.
//
// Errors: NotFound "photo_unknown" (not of this device), Invalid "preview_invalid", Unavailable "photo_store_unavailable".
func (s *Service) servePreview(w http.ResponseWriter, r *http.Request) {
	if err := s.takePreview(r); err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Service) takePreview(r *http.Request) error {
	ctx, task, id := r.Context(), r.PathValue("task"), r.PathValue("photo")
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return err
	}
	// Whose photo it is comes before the body.
	err = s.store.View(ctx, func(tx *store.Tx) error {
		_, _, err := ownPhoto(tx, principal, task, id)
		return err
	})
	if err != nil {
		return err
	}
	sent, err := io.ReadAll(io.LimitReader(r.Body, maxPreviewBytes+1))
	if err != nil {
		return previewInvalid() // Cut off: whoever sent it is gone.
	}
	if len(sent) > maxPreviewBytes {
		return previewInvalid()
	}
	small, err := picture.Preview(bytes.NewReader(sent), maxPreviewPixels)
	if err != nil {
		return previewInvalid()
	}
	sum := sha256.Sum256(small)
	if err := s.blobs.Put(ctx, sum, bytes.NewReader(small)); err != nil {
		return s.storeFailed(ctx, id, err)
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if err := notDoomed(tx, sum[:]); err != nil {
			return err
		}
		record, photo, err := ownPhoto(tx, principal, task, id)
		if err != nil {
			return err
		}
		if photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE || bytes.Equal(photo.GetPreviewSha256(), sum[:]) {
			return nil // The original overtook it, or it is a repeat.
		}
		photo.Revision, photo.PreviewSha256 = store.NextRevision(record), sum[:]
		return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_UNSPECIFIED)
	})
}

func previewInvalid() error {
	return fault.New(fault.Invalid, "preview_invalid",
		fmt.Sprintf("Ảnh xem trước phải là JPEG, PNG hoặc WebP, tối đa %d KiB và 1 megapixel.", maxPreviewBytes>>10),
		fmt.Sprintf("A preview is a JPEG, PNG or WebP of at most %d KiB and 1 megapixel.", maxPreviewBytes>>10))
}
