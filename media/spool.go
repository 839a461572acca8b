package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// spool holds the bytes of open uploads, a file each, named by the upload's id. All else about an upload stands in the
// store; a file that is not there is an upload of which no byte has come. So there is nothing that must be made before the
// first byte, and nothing that could be reset.
//
// The files are not synced: what a power cut takes away, the phone still has, and it asks for the offset before it goes on. Bytes
// that a power cut has damaged fail the hash in Commit.
type spool struct {
	dir string
	log *slog.Logger
	// limit bounds used, the bytes of all files.
	limit int64
	used  *atomic.Int64
}

func openSpool(dir string, limit int64, log *slog.Logger) (spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return spool{}, fmt.Errorf("opening the spool: %w", err)
	}
	s := spool{dir: dir, log: log, limit: limit, used: new(atomic.Int64)}
	ids, err := s.list()
	if err != nil {
		return spool{}, fmt.Errorf("opening the spool: %w", err)
	}
	for _, id := range ids {
		size, err := s.offset(id)
		if err != nil {
			return spool{}, fmt.Errorf("opening the spool: %w", err)
		}
		s.used.Add(size)
	}
	return s, nil
}

// full tells whether the spool takes no more bytes until some uploads are committed or expire.
func (s spool) full() bool { return s.used.Load() >= s.limit }

func (s spool) path(id string) string { return filepath.Join(s.dir, id) }

// list returns the uploads of which there are bytes.
func (s spool) list() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, entry := range entries {
		if uploadID.MatchString(entry.Name()) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// offset tells how many bytes of an upload are here.
func (s spool) offset(id string) (int64, error) {
	info, err := os.Stat(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// open returns the bytes of an upload of which there are some.
func (s spool) open(id string) (*os.File, error) { return os.Open(s.path(id)) }

// changed is when the last byte of an upload came; zero where none has.
func (s spool) changed(id string) (time.Time, error) {
	info, err := os.Stat(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// remove removes the bytes of an upload, if there are any.
func (s spool) remove(id string) error {
	size, err := s.offset(id)
	if err != nil {
		return err
	}
	switch err := os.Remove(s.path(id)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	s.used.Add(-size)
	return nil
}

// counted is a body whose bytes count towards the spool's limit, and which ends with an error there.
type counted struct {
	io.Reader

	spool spool
}

func (c counted) Read(p []byte) (int, error) {
	if c.spool.full() {
		return 0, errSpoolFull
	}
	n, err := c.Reader.Read(p)
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
	size := int64(upload.GetSizeBytes()) //nolint:gosec // At most maxPhotoBytes.
	offset := size
	// Of a committed upload all bytes are here, though perhaps no longer in the spool: a phone that has lost the answer of its
	// last PATCH or of its Commit learns that it has nothing to send.
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		var err error
		if offset, err = s.offset(id); err != nil {
			return nil, s.failed(ctx, id, err)
		}
	}
	return spooled{spool: s, info: handler.FileInfo{ID: id, Size: size, Offset: offset}}, nil
}

// failed logs what is wrong with the spool and returns what a client may know of it: tusd would show the error itself.
func (s spool) failed(ctx context.Context, id string, err error) error {
	s.log.ErrorContext(ctx, "the spool failed", "upload", id, "error", err)
	return handler.NewError("ERR_SPOOL", "the bytes cannot be kept now, resume later", http.StatusServiceUnavailable)
}

// spooled is an upload as tusd sees it. tusd locks it, and checks offset and size before it writes.
type spooled struct {
	spool spool
	info  handler.FileInfo
}

func (u spooled) GetInfo(context.Context) (handler.FileInfo, error) { return u.info, nil }

// WriteChunk appends what src gives until its end, which tusd bounds by the declared size. What was written before an error
// stays: the phone goes on from there.
func (u spooled) WriteChunk(ctx context.Context, _ int64, src io.Reader) (int64, error) {
	file, err := os.OpenFile(u.spool.path(u.info.ID), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, u.spool.failed(ctx, u.info.ID, err)
	}
	n, err := io.Copy(file, counted{src, u.spool})
	if err = errors.Join(err, file.Close()); err != nil {
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
