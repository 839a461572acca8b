package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

// servePhoto gives out the original of a photo that has arrived, whole or in ranges (RFC 9110), to whoever may see its task
// now; of a damaged one too.
//
// Errors: NotFound "task_unknown", "photo_unknown", and "photo_on_phone" while the original has not arrived.
func (s *Service) servePhoto(w http.ResponseWriter, r *http.Request) {
	task, id := r.PathValue("task"), r.PathValue("photo")
	photo, err := s.visiblePhoto(r.Context(), task, id)
	if err == nil && photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		err = photoOnPhone()
	}
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	s.serveBlob(w, r, blob{
		sum: [sha256.Size]byte(photo.GetSha256()),
		// The type is what the phone declared.
		mediaType: photo.GetContentType(), name: task + "-" + id + "." + strings.TrimPrefix(photo.GetContentType(), "image/"),
		cache: "private",
	})
}

// serveThumbnail gives out a small JPEG of a photo, at most 320 pixels a side, to whoever may see its task now: made of the
// original, or the phone's preview until that has come.
//
// Errors: NotFound "task_unknown", "photo_unknown", "photo_on_phone" (and no preview), and "photo_no_thumbnail" for a photo that
// has none: HEIC, damaged, not looked into yet.
func (s *Service) serveThumbnail(w http.ResponseWriter, r *http.Request) {
	task, id := r.PathValue("task"), r.PathValue("photo")
	photo, err := s.visiblePhoto(r.Context(), task, id)
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	var look *storagev1.Look
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		if photo.GetLook() != nil {
			look, err = store.Get(tx, store.LookKey(photo.GetSha256()))
		}
		return err
	})
	small := blob{mediaType: "image/jpeg", name: task + "-" + id + "-thumbnail.jpeg", cache: "private"}
	switch {
	case err != nil:
	case len(look.GetThumbnailSha256()) == sha256.Size:
		small.sum = [sha256.Size]byte(look.GetThumbnailSha256())
	case look == nil && len(photo.GetPreviewSha256()) == sha256.Size:
		small.sum, small.passing = [sha256.Size]byte(photo.GetPreviewSha256()), true
	case photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE:
		err = photoOnPhone()
	default:
		err = fault.New(fault.NotFound, "photo_no_thumbnail",
			"Ảnh này không có ảnh thu nhỏ.", "The photo has no thumbnail.")
	}
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	s.serveBlob(w, r, small)
}

// blob is what is kept, and how it is given out.
type blob struct {
	sum             [sha256.Size]byte
	mediaType, name string
	cache           string // private: for this client, for whom it was checked; or public
	passing         bool   // something else will stand here
}

func (s *Service) serveBlob(w http.ResponseWriter, r *http.Request, b blob) {
	content, _, err := s.blobs.Open(r.Context(), b.sum)
	switch {
	case errors.Is(err, ErrBlobNotFound): // A record says that it is kept.
		faultwire.WriteHTTP(w, r, s.log, fmt.Errorf("opening %x: %w", b.sum, err))
		return
	case err != nil:
		faultwire.WriteHTTP(w, r, s.log, s.storeFailed(r.Context(), b.name, err))
		return
	}
	defer content.Close()
	h := w.Header()
	// What lies under a hash never changes.
	h.Set("Cache-Control", b.cache+", max-age=31536000, immutable")
	if b.passing {
		h.Set("Cache-Control", b.cache+", no-cache")
	}
	if b.cache == "private" {
		h.Set("Vary", "Authorization")
	}
	h.Set("ETag", `"`+hex.EncodeToString(b.sum[:])+`"`)
	// A browser must not find another type in bytes that a stranger has chosen.
	h.Set("Content-Type", b.mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": b.name}))
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
		found = photoOf(record, id)
		return nil
	})
	if err == nil && found == nil {
		err = fault.New(fault.NotFound, "photo_unknown",
			"Công việc không có ảnh này.", "The task has no such photo.")
	}
	return found, err
}

func photoOnPhone() error {
	return fault.New(fault.NotFound, "photo_on_phone",
		"Ảnh gốc vẫn còn trên điện thoại.", "The original is still on the phone.")
}
