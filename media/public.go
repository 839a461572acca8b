package media

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/media/picture"
	"github.com/cong1022/fieldsync/store"
)

const publicPath = "/v1/public/"

// PublicPath is the path of the public copy of a photo: a capability that needs no token and lasts as long as the store's secret.
// Whoever holds it sees one picture without metadata, at most 1600 pixels a side, and nothing else. It says nothing of whether
// there is such a copy: only verified JPEG, PNG and WebP have one.
func (s *Service) PublicPath(task, photo string) string {
	return publicPath + url.PathEscape(task) + "/" + url.PathEscape(photo) + "/" + s.capability(task, photo)
}

// capability is 128 bits of an HMAC over what the link opens: nothing needs to be stored for a link.
func (s *Service) capability(task, photo string) string {
	mac := hmac.New(sha256.New, s.linkSecret)
	fmt.Fprintf(mac, "fieldsync/photo-link/v1\n%s\n%s", task, photo) // Ids hold no line breaks.
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// openLinkSecret reads the secret of the links, and makes it, durably, where there is none yet.
func openLinkSecret(ctx context.Context, st *store.Store) (secret []byte, err error) {
	err = st.Update(ctx, func(tx *store.Tx) error {
		kept, err := store.Get(tx, store.PhotoLinkSecretKey())
		if err != nil || kept != nil {
			secret = kept.GetSecret()
			return err
		}
		secret = make([]byte, 32)
		if err := tx.Random(secret); err != nil {
			return err
		}
		return store.Put(tx, store.PhotoLinkSecretKey(), &storagev1.PhotoLinkSecret{Secret: secret})
	})
	return secret, err
}

// servePublic gives out the public copy of a photo, made when it is first asked for, to whoever holds the link.
//
// Errors: NotFound "photo_link_unknown", one and the same for a wrong link and for a photo without a copy; Unavailable
// "photo_store_unavailable".
func (s *Service) servePublic(w http.ResponseWriter, r *http.Request) {
	task, id := r.PathValue("task"), r.PathValue("photo")
	sum, err := s.publicCopy(r.Context(), task, id, r.PathValue("capability"))
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	// Web pages of others show it.
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	s.serveBlob(w, r, blob{sum: sum, mediaType: "image/jpeg", name: id + ".jpeg", cache: "public"})
}

func (s *Service) publicCopy(ctx context.Context, task, id, capability string) (sum [sha256.Size]byte, err error) {
	unknown := fault.New(fault.NotFound, "photo_link_unknown",
		"Liên kết này không dẫn đến ảnh nào.", "This link leads to no photo.")
	if !hmac.Equal([]byte(capability), []byte(s.capability(task, id))) {
		return sum, unknown
	}
	var photo *fieldsyncv1.Photo
	var look *storagev1.Look
	err = s.store.View(ctx, func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		if photo = photoOf(record, id); photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
			return unknown
		}
		look, err = store.Get(tx, store.LookKey(photo.GetSha256()))
		return err
	})
	switch {
	case err != nil:
		return sum, err
	case len(look.GetPublicSha256()) == sha256.Size:
		return [sha256.Size]byte(look.GetPublicSha256()), nil
	case !look.GetLook().GetThumbnail(): // What could not be decoded then cannot be now.
		return sum, unknown
	}
	return s.makePublicCopy(ctx, photo.GetSha256())
}

// makePublicCopy decodes the original once. Two who ask at the same moment make the same bytes.
func (s *Service) makePublicCopy(ctx context.Context, sha []byte) (sum [sha256.Size]byte, err error) {
	select {
	case s.looks.places <- struct{}{}:
		defer func() { <-s.looks.places }()
	case <-ctx.Done():
		return sum, ctx.Err()
	}
	content, _, err := s.blobs.Open(ctx, [sha256.Size]byte(sha))
	if err != nil {
		return sum, s.storeFailed(ctx, fmt.Sprintf("%x", sha), err)
	}
	defer content.Close()
	made, err := picture.Public(content)
	if err != nil {
		return sum, fmt.Errorf("making a public copy of %x: %w", sha, err)
	}
	sum = sha256.Sum256(made)
	if err := s.blobs.Put(ctx, sum, bytes.NewReader(made)); err != nil {
		return sum, s.storeFailed(ctx, fmt.Sprintf("%x", sha), err)
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := notDoomed(tx, sum[:]); err != nil {
			return err
		}
		look, err := store.Get(tx, store.LookKey(sha))
		if err != nil {
			return err
		}
		look.PublicSha256 = sum[:]
		return store.Put(tx, store.LookKey(sha), look)
	})
	return sum, err
}

func photoOf(record *storagev1.TaskRecord, id string) *fieldsyncv1.Photo {
	for _, photo := range record.GetTask().GetPhotos() {
		if photo.GetId() == id {
			return photo
		}
	}
	return nil
}
