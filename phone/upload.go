package phone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

// Progress is told how many of a photo's bytes the server has, after each piece. Called on Upload's goroutine.
type Progress func(photo string, sent, total int64)

// maxFailures is how many attempts in a row may come to nothing before a photo is left for the next Upload.
const maxFailures = 5

// Upload sends a preview of every photo whose attach the server has judged (so: after Sync), of some 4 KB where the original is over
// 32 KiB; then each original, in tus 1.0 pieces, each resumed where the server says that its bytes end. Then it fetches the
// receipts of this phone's completions that are to be had. A photo's copy on the phone goes once the server has verified it,
// nothing in the outbox speaks of it, and the phone holds the receipt of the seal if it has completed the task. progress may be nil.
//
// The error joins those of the photos and receipts that did not get through; the others did. What a repeat may bring through is
// tried again by the next Upload.
func (p *Phone) Upload(ctx context.Context, progress Progress) error {
	release, err := hold(ctx, p.uploading)
	if err != nil {
		return err
	}
	defer release()
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	var waiting []*photo
	held := false
	err = p.view(func(tx *bolt.Tx, _ *state) error {
		for ph, err := range photos(tx) {
			if err != nil {
				return err
			}
			held = true
			// A phone does not hear of each one that a dispatcher has released, as of a task that is not its crew's any more: it asks.
			if ph.State == photoAttached || ph.State == photoQuarantined {
				waiting = append(waiting, ph)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	u := &uploader{phone: p, progress: progress, retry: p.retry, looked: make(map[string]bool)}
	u.previews(ctx, waiting)
	var failed []error
	for _, ph := range waiting {
		err := u.photo(ctx, ph)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ph.State == photoQuarantined && fault.CodeOf(err) == "photo_unknown" {
			continue // Not released yet.
		}
		if err != nil {
			p.log.WarnContext(ctx, "a photo did not get through", "photo_id", ph.ID, "task_id", ph.TaskID, "error", err)
			failed = append(failed, fmt.Errorf("photo %s: %w", ph.ID, err))
		}
	}
	failed = append(failed, p.fetchReceipts(ctx))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if held {
		failed = append(failed, p.sweepPhotos())
	}
	return errors.Join(failed...)
}

// uploader is one run of Upload.
type uploader struct {
	phone    *Phone
	progress Progress
	retry    backoff
	// failures counts attempts in a row that came to nothing, across photos: when the server is away, the first photo waits
	// for it and the others get one attempt each.
	failures int
	// looked are the photos whose copies were found whole.
	looked map[string]bool
}

// photo brings one photo to the server, and its record to verified.
func (u *uploader) photo(ctx context.Context, ph *photo) error {
	for mismatches := 0; ; {
		err := u.attempt(ctx, ph)
		if err == nil {
			u.reached()
			return u.phone.update(func(tx *bolt.Tx, _ *state) error { return setPhoto(tx, ph.ID, photoVerified) })
		}
		if fault.CodeOf(err) == "photo_hash_mismatch" {
			if mismatches++; mismatches > 1 {
				return err // Each piece counts as a success: failures would never end it.
			}
		}
		u.failures++
		if !repeatable(err) || u.failures >= maxFailures {
			return err
		}
		if err := u.retry.Wait(ctx, retryAfter(err)); err != nil {
			return err
		}
	}
}

// whole looks at the copy of a photo before the first of its bytes goes out in this run, and gives it up if it is damaged: the server
// would refuse it when all of them are there, again and again.
func (u *uploader) whole(ph *photo) error {
	if u.looked[ph.ID] {
		return nil
	}
	whole, err := u.phone.copyWhole(ph)
	if err != nil {
		return fmt.Errorf("the copy of the photo cannot be read: %w", err)
	}
	if !whole {
		err := u.phone.update(func(tx *bolt.Tx, _ *state) error { return setPhoto(tx, ph.ID, photoDamaged) })
		return errors.Join(errCopyDamaged(ph.ID), err)
	}
	u.looked[ph.ID] = true
	return nil
}

// reached notes that the server was there and took something.
func (u *uploader) reached() {
	u.failures = 0
	u.retry.Reset()
}

// repeatable tells whether the same again may succeed: nobody answered, not now, or the upload is gone (a crash or a
// cleanup on the server, or bytes that were damaged on the way) and a new Declare opens another.
func repeatable(err error) bool {
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.DataLoss:
		return true
	default:
		switch fault.CodeOf(err) {
		case "upload_unknown", "upload_incomplete", "upload_moved", "internal":
			return true
		}
		return false
	}
}

// attempt declares the photo, sends what is missing and commits. Every step is safe to repeat.
func (u *uploader) attempt(ctx context.Context, ph *photo) error {
	declared, err := u.declare(ctx, ph)
	if err != nil || declared.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
		return err
	}
	if err := u.whole(ph); err != nil {
		return err
	}
	if err := u.send(ctx, ph, declared.GetUploadPath()); err != nil {
		return err
	}
	return u.phone.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		client := fieldsyncv1connect.NewMediaServiceClient(u.phone.http, server, clientOptions()...)
		_, err := client.Commit(withBearer(ctx, bearer), &fieldsyncv1.CommitRequest{UploadId: declared.GetUploadId()})
		return callFault(ctx, err)
	})
}

func (u *uploader) declare(ctx context.Context, ph *photo) (declared *fieldsyncv1.DeclareResponse, err error) {
	err = u.phone.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		client := fieldsyncv1connect.NewMediaServiceClient(u.phone.http, server, clientOptions()...)
		var err error
		declared, err = client.Declare(withBearer(ctx, bearer), &fieldsyncv1.DeclareRequest{TaskId: ph.TaskID, PhotoId: ph.ID})
		return callFault(ctx, err)
	})
	return declared, err
}

// send asks where the server's bytes end and goes on from there, piece by piece. What a piece cut on its way has brought
// is kept by the server: the next attempt asks again.
func (u *uploader) send(ctx context.Context, ph *photo, path string) error {
	file, err := os.Open(u.phone.photoPath(ph.ID))
	if err != nil {
		return fmt.Errorf("the copy of the photo cannot be read: %w", err)
	}
	defer func() { _ = file.Close() }() // Read only.
	total := int64(ph.Size)             //nolint:gosec // At most 50 MiB.
	offset, err := u.tus(ctx, http.MethodHead, path, 0, nil)
	piece := make([]byte, min(int64(u.phone.chunk), total))
	for err == nil && offset < total {
		u.progress(ph.ID, offset, total)
		part := piece[:min(int64(len(piece)), total-offset)]
		if _, err := file.ReadAt(part, offset); err != nil { // Its end, too: the size is what was recorded.
			return fmt.Errorf("the copy of the photo cannot be read: %w", err)
		}
		before := offset
		if offset, err = u.tus(ctx, http.MethodPatch, path, offset, part); err != nil {
			break
		}
		if offset <= before || offset > total {
			return errAnswer(fmt.Sprintf("upload offset %d after %d of %d", offset, before, total))
		}
		u.reached()
	}
	if err == nil {
		u.progress(ph.ID, total, total)
	}
	return err
}

// tus makes one tus 1.0 request and returns the offset that the server gives.
func (u *uploader) tus(ctx context.Context, method, path string, offset int64, body []byte) (now int64, err error) {
	err = u.phone.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		// Only a path: the token goes to no other host, whatever an answer says.
		target, err := url.JoinPath(server, path)
		if err != nil {
			return errAnswer("upload path")
		}
		request, err := http.NewRequestWithContext(callCtx, method, target, bytes.NewReader(body))
		if err != nil {
			return errAnswer("upload path")
		}
		request.Header.Set("Authorization", bearer)
		request.Header.Set("Tus-Resumable", "1.0.0")
		if method == http.MethodPatch {
			request.Header.Set("Content-Type", "application/offset+octet-stream")
			request.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
		}
		response, err := u.phone.http.Do(request)
		if err != nil {
			return callFault(ctx, err)
		}
		// Drained, so that the connection is used again; bounded, for it may be any proxy's page.
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
		_ = response.Body.Close()
		if err := statusFault(response.StatusCode); err != nil {
			return err
		}
		if now, err = strconv.ParseInt(response.Header.Get("Upload-Offset"), 10, 64); err != nil || now < 0 {
			return errAnswer("no upload offset")
		}
		return nil
	})
	return now, err
}

// statusFault says what a tus answer's status means to a phone.
func statusFault(status int) error {
	said := fmt.Sprintf("HTTP %d", status)
	switch {
	case status == http.StatusOK || status == http.StatusNoContent:
		return nil
	case status == http.StatusUnauthorized:
		return fault.New(fault.Unauthenticated, "token_refused", "Máy chủ không nhận mã truy cập.", "The server refuses the token.")
	case status == http.StatusNotFound || status == http.StatusGone:
		return fault.New(fault.NotFound, "upload_unknown", "Máy chủ không còn lần tải lên này.", "The server has no such upload any more.")
	case status == http.StatusConflict || status == http.StatusLocked:
		// Another offset than ours, or an attempt that the server has not yet noticed to be dead.
		return fault.New(fault.Precondition, "upload_moved", "Lần tải lên đang được ghi từ nơi khác.", "The upload is being written to elsewhere.")
	case status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return unreachable(errors.New(said))
	default:
		return fault.New(fault.Invalid, "upload_refused", "Máy chủ từ chối tải lên: "+said+".", "The server refuses the upload: "+said+".")
	}
}
