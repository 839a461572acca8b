package phone

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	_ "image/png" // Decoders of what a photo may be.
	"io"
	"net/http"
	"net/url"
	"os"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // The same.

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

const (
	// previewSide and previewQuality make a picture of some 4 KB: a second on the worst network.
	previewSide    = 160
	previewQuality = 60
	// previewAbove: an original that is not larger is itself as good as there.
	previewAbove = 32 << 10
	// previewPixels bounds the memory of decoding: 200 MB at 4 bytes.
	previewPixels = 50 << 20
)

// previews sends a small picture of each photo, before any original: whoever waits for the evidence sees it minutes earlier. It
// proves nothing, so no trouble with it holds an original up.
func (u *uploader) previews(ctx context.Context, waiting []*photo) {
	for _, ph := range waiting {
		if ph.Previewed || ph.Size <= previewAbove || ph.State == photoQuarantined {
			continue
		}
		small, err := preview(u.phone.photoPath(ph.ID))
		if err == nil {
			err = u.sendPreview(ctx, ph, small)
		}
		switch {
		case ctx.Err() != nil:
			return // The next Upload sends it.
		case err == nil || errors.Is(err, errNoPreview) || !repeatable(err):
			ph.Previewed = true
			err = errors.Join(err, u.phone.update(func(tx *bolt.Tx, _ *state) error {
				return changePhoto(tx, ph.ID, func(ph *photo) { ph.Previewed = true })
			}))
		}
		if err != nil && !errors.Is(err, errNoPreview) {
			u.phone.log.InfoContext(ctx, "a preview was not sent", "photo_id", ph.ID, "error", err)
		}
		if fault.KindOf(err) == fault.Unavailable {
			return // The originals find out how long it lasts.
		}
	}
}

var errNoPreview = errors.New("phone: no small picture can be made of this photo")

// preview makes a small JPEG of a photo, as it is stored: an app has an upright one from its camera. errNoPreview for HEIC, and
// for what cannot be decoded.
func preview(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // Read only.
	config, _, err := image.DecodeConfig(file)
	if err != nil || config.Width*config.Height > previewPixels || config.Width < 1 || config.Height < 1 {
		return nil, errNoPreview
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	full, _, err := image.Decode(file)
	if err != nil {
		return nil, errNoPreview
	}
	longer := max(config.Width, config.Height, previewSide)
	small := image.NewRGBA(image.Rect(0, 0, max(1, config.Width*previewSide/longer), max(1, config.Height*previewSide/longer)))
	draw.ApproxBiLinear.Scale(small, small.Bounds(), full, full.Bounds(), draw.Src, nil)
	var encoded bytes.Buffer
	err = jpeg.Encode(&encoded, small, &jpeg.Options{Quality: previewQuality})
	return encoded.Bytes(), err
}

func (u *uploader) sendPreview(ctx context.Context, ph *photo, small []byte) error {
	return u.phone.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		target, err := url.JoinPath(server, "v1/tasks", ph.TaskID, "photos", ph.ID, "preview")
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(callCtx, http.MethodPut, target, bytes.NewReader(small))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", bearer)
		request.Header.Set("Content-Type", "image/jpeg")
		response, err := u.phone.http.Do(request)
		if err != nil {
			return callFault(ctx, err)
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
		_ = response.Body.Close()
		return statusFault(response.StatusCode)
	})
}

// Damaged is a photo of this phone that arrived and is no whole image: it has to be taken again (PhotoFacts.Replaces).
type Damaged struct {
	TaskID  string                `json:"task_id"`
	PhotoID string                `json:"photo_id"`
	Why     *fieldsyncv1.Sentence `json:"-"`
}

// Damaged lists the photos that the server has asked this phone for again, and in whose place none was taken yet, by task.
func (p *Phone) Damaged() (all []Damaged, err error) {
	err = p.view(func(tx *bolt.Tx, st *state) error {
		replaced := map[string]bool{}
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			replaced[q.mutation.GetAttachPhoto().GetPhoto().GetReplacesPhotoId()] = true
		}
		for task, err := range replica(tx) {
			if err != nil {
				return err
			}
			all = append(all, damagedIn(task, st.DeviceID, replaced)...)
		}
		return nil
	})
	return all, err
}

// damagedIn adds to replaced what the task's own photos replace.
func damagedIn(task *fieldsyncv1.Task, device string, replaced map[string]bool) (found []Damaged) {
	for _, photo := range task.GetPhotos() {
		replaced[photo.GetReplacesPhotoId()] = true
	}
	for _, photo := range task.GetPhotos() {
		if photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED || photo.GetDeviceId() != device || replaced[photo.GetId()] {
			continue
		}
		one := Damaged{TaskID: task.GetId(), PhotoID: photo.GetId()}
		if findings := photo.GetFindings(); len(findings) > 0 {
			one.Why = findings[0].GetSentence()
		}
		found = append(found, one)
	}
	return found
}
