package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

// servePhoto gives out the original of a verified photo, whole or in ranges (RFC 9110), to whoever may see its task now.
//
// Errors: NotFound "task_unknown", "photo_unknown", and "photo_on_phone" while the original has not arrived.
func (s *Service) servePhoto(w http.ResponseWriter, r *http.Request) {
	task, id := r.PathValue("task"), r.PathValue("photo")
	photo, err := s.visiblePhoto(r.Context(), task, id)
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	sum := [sha256.Size]byte(photo.GetSha256())
	content, _, err := s.blobs.Open(r.Context(), sum)
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, fmt.Errorf("photo %s of task %s: %w", id, task, err))
		return
	}
	defer content.Close()

	// A photo never changes under its id, so a client may keep it for good; but only this client, for whom it was checked.
	h := w.Header()
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("Vary", "Authorization")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	// The type is what the phone declared. A browser must not find another one in bytes that a stranger has chosen.
	h.Set("Content-Type", photo.GetContentType())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{
		"filename": task + "-" + id + "." + strings.TrimPrefix(photo.GetContentType(), "image/"),
	}))
	http.ServeContent(w, r, "", time.Time{}, content)
}

func (s *Service) visiblePhoto(ctx context.Context, task, id string) (*fieldsyncv1.Photo, error) {
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var found *fieldsyncv1.Photo
	err = s.store.View(ctx, func(tx *store.Tx) error {
		record, err := principal.LoadTask(tx, task)
		if err != nil {
			return err
		}
		for _, photo := range record.GetTask().GetPhotos() {
			if photo.GetId() == id {
				found = photo
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, fault.New(fault.NotFound, "photo_unknown",
			"Công việc không có ảnh này.", "The task has no such photo.")
	case found.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED:
		return nil, fault.New(fault.NotFound, "photo_on_phone",
			"Ảnh gốc vẫn còn trên điện thoại.", "The original is still on the phone.")
	}
	return found, nil
}
