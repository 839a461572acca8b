package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Spool is the seam between open uploads and whatever keeps their bytes until they are committed. All else about an upload stands
// in the store; an upload of which nothing is kept is one at offset 0. So there is nothing that must be made before the
// first byte, and nothing that could be reset. Where Options.Spool is nil, a folder keeps them, for one process; package s3 has the
// one for several nodes.
//
// What is appended need not survive a power cut: the phone has it until Commit has answered, and asks for the offset before it
// goes on; damaged bytes fail the hash. Ids are 32 hexadecimal digits.
type Spool interface {
	// Size tells how many bytes of an upload are kept, from the first on.
	Size(ctx context.Context, id string) (int64, error)
	// Append adds what src gives, until its end, behind the first offset bytes, which are kept already. It returns how many were
	// kept, beside an error too: they count from then on. ErrSpoolOffset: others have written behind offset meanwhile.
	Append(ctx context.Context, id string, offset int64, src io.Reader) (int64, error)
	// Open returns what is kept of an upload, and how many bytes. fs.ErrNotExist where there are none.
	Open(ctx context.Context, id string) (io.ReadSeekCloser, int64, error)
	// Changed is when the last byte came; zero where none has.
	Changed(ctx context.Context, id string) (time.Time, error)
	// Remove removes the bytes of an upload, if there are any.
	Remove(ctx context.Context, id string) error
	// List tells of which uploads how many bytes are kept.
	List(ctx context.Context) (map[string]int64, error)
	// Full tells whether there is no room for more, whatever the limit.
	Full() bool
}

// ErrSpoolOffset is an error of the seam.
var ErrSpoolOffset = errors.New("media: the upload has other bytes at this offset")

// spool is a Spool with a bound, as tusd sees it.
type spool struct {
	bytes Spool
	log   *slog.Logger
	// limit bounds used, the bytes of all uploads. With several nodes each counts its own and, once an hour, all.
	limit int64
	used  *atomic.Int64
}

func openSpool(ctx context.Context, kept Spool, limit int64, log *slog.Logger) (spool, error) {
	s := spool{bytes: kept, log: log, limit: limit, used: new(atomic.Int64)}
	if _, err := s.count(ctx); err != nil {
		return spool{}, fmt.Errorf("opening the spool: %w", err)
	}
	return s, nil
}

// count counts what is kept, and tells of which uploads there is anything.
func (s spool) count(ctx context.Context) (ids []string, err error) {
	kept, err := s.bytes.List(ctx)
	if err != nil {
		return nil, err
	}
	var sum int64
	for id, size := range kept {
		ids = append(ids, id)
		sum += size
	}
	s.used.Store(sum)
	return ids, nil
}

// full tells whether the spool takes no more bytes until some uploads are committed or expire.
func (s spool) full() bool { return s.used.Load() >= s.limit || s.bytes.Full() }

// remove removes the bytes of an upload, if there are any.
func (s spool) remove(ctx context.Context, id string) error {
	size, err := s.bytes.Size(ctx, id)
	if err != nil {
		return err
	}
	if err := s.bytes.Remove(ctx, id); err != nil {
		return err
	}
	s.used.Add(-size)
	return nil
}

// counted is a body whose bytes count towards the spool's limit, and which ends with an error there.
type counted struct {
	io.Reader

	spool spool
	read  int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.spool.full() {
		return 0, errSpoolFull
	}
	n, err := c.Reader.Read(p)
	c.read += int64(n)
	c.spool.used.Add(int64(n))
	return n, err
}

var errSpoolFull = errors.New("the spool is full")

// NewUpload implements tusd's DataStore. Only Declare opens uploads.
func (s spool) NewUpload(context.Context, handler.FileInfo) (handler.Upload, error) {
	return nil, handler.ErrNotImplemented
}

// GetUpload implements tusd's DataStore: it answers for the upload that the request's context carries.
func (s spool) GetUpload(ctx context.Context, id string) (handler.Upload, error) {
	transfer, ok := ctx.Value(transferKey{}).(*transfer)
	if !ok || transfer.upload.GetId() != id {
		return nil, handler.ErrNotFound
	}
	upload := transfer.upload
	offset := sizeOf(upload)
	// Of a committed upload all bytes are here, though perhaps no longer in the spool: a phone that has lost the answer of its
	// last PATCH or of its Commit learns that it has nothing to send.
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		var err error
		if offset, err = s.bytes.Size(ctx, id); err != nil {
			return nil, s.failed(ctx, id, err)
		}
	}
	return spooled{spool: s, info: handler.FileInfo{ID: id, Size: sizeOf(upload), Offset: offset}}, nil
}

func sizeOf(upload *storagev1.Upload) int64 { return int64(upload.GetSizeBytes()) } //nolint:gosec // At most maxPhotoBytes.

// failed logs what is wrong with the spool and returns what a client may know of it: tusd would show the error itself.
func (s spool) failed(ctx context.Context, id string, err error) error {
	switch {
	case errors.Is(err, ErrSpoolOffset):
		return handler.ErrMismatchOffset
	case errors.Is(err, errSpoolFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		s.log.WarnContext(ctx, "the spool is full", "upload", id, "error", err)
		return comeBack("photo_spool_full", "too many photos are waiting on the server, resume later")
	default:
		s.log.ErrorContext(ctx, "the spool failed", "upload", id, "error", err)
		return comeBack("photo_store_unavailable", "the bytes cannot be kept now, resume later")
	}
}

// comeBack is an answer in tusd's own form, with the codes that RPCs give for the same.
func comeBack(code, message string) error {
	answer := handler.NewError(code, message, http.StatusServiceUnavailable)
	answer.HTTPResponse.Header["Retry-After"] = strconv.Itoa(int(blobsRetryAfter.Seconds()))
	return answer
}

// spooled is an upload as tusd sees it. tusd locks it, and checks offset and size before it writes.
type spooled struct {
	spool spool
	info  handler.FileInfo
}

func (u spooled) GetInfo(context.Context) (handler.FileInfo, error) { return u.info, nil }

// WriteChunk appends what src gives until its end, which tusd bounds by the declared size. What was kept before an error
// stays: the phone goes on from there.
func (u spooled) WriteChunk(ctx context.Context, offset int64, src io.Reader) (int64, error) {
	body := &counted{Reader: src, spool: u.spool}
	n, err := u.spool.bytes.Append(ctx, u.info.ID, offset, body)
	u.spool.used.Add(n - body.read) // What was read and not kept.
	if err != nil {
		return n, u.spool.failed(ctx, u.info.ID, err)
	}
	return n, nil
}

// GetReader implements tusd's Upload. Nothing that is mounted reads through tusd.
func (u spooled) GetReader(context.Context) (io.ReadCloser, error) {
	return nil, handler.ErrNotImplemented
}

// FinishUpload does nothing: that the last byte has come is told by Commit, which may be repeated.
func (u spooled) FinishUpload(context.Context) error { return nil }
