// Package media takes in the originals of photos and gives them out again.
//
// Service declares and commits uploads, takes their bytes by tus into a spool, and serves verified originals. Blobs is the
// seam behind which the originals are kept; packages folder and s3 implement it.
package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/memorylocker"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

const (
	// maxPhotoBytes is the largest original, as the rules of PhotoDeclaration have it: 50 MiB.
	maxPhotoBytes = 50 << 20
	// defaultSpoolBytes is what phones of a city send within an hour in which the object store is away, several times over.
	defaultSpoolBytes = 20 << 30
)

var uploadID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Options are what a Service works with.
type Options struct {
	// Store holds the tasks and what is known of the uploads.
	Store *store.Store
	// Blobs keeps the originals.
	Blobs Blobs
	// SpoolDir is where the bytes of unfinished uploads lie. It is made where it is missing. One process at a time may
	// use it.
	SpoolDir string
	// Spool, where it is not nil, keeps them instead of SpoolDir.
	Spool Spool
	// SpoolBytes bounds them. 0 means 20 GiB.
	SpoolBytes int64
	// OrphansAfter is how old content must be that no record refers to before it is collected. 0 means 30 days; below 0, it
	// never is.
	OrphansAfter time.Duration
	// UploadTTL is how long an upload waits for its next byte before it is forgotten. 0 means 30 days.
	UploadTTL time.Duration
	// Log hears of photos by their ids only.
	Log *slog.Logger
	// PhotosChanged is called in each transaction that changes the state of photos of a task, be it that they have come, are damaged or
	// were lost: once per task, with the task as it will be stored and the new revision, which it sets on what it changes. It must
	// have no effect outside the transaction: it may run more than once. Its error discards the transaction; the next Commit or
	// DeclarePhoto tries again. Nil calls nothing.
	PhotosChanged func(tx *store.Tx, record *storagev1.TaskRecord, revision uint64) error
}

// Service implements the MediaService and what goes beside it by plain HTTP.
type Service struct {
	store         *store.Store
	blobs         Blobs
	spool         spool
	tus           http.Handler
	commits       *memorylocker.MemoryLocker
	looks         *looks
	linkSecret    []byte
	log           *slog.Logger
	uploadTTL     time.Duration
	photosChanged func(tx *store.Tx, record *storagev1.TaskRecord, revision uint64) error
	// holdsChanged wakes the worker that tells the object store of legal holds.
	holdsChanged chan struct{}
	orphansAfter time.Duration
	// removing is held while doomed content is removed.
	removing sync.Mutex
}

var (
	_ fieldsyncv1connect.MediaServiceHandler = (*Service)(nil)
	_ fieldsyncv1connect.HoldServiceHandler  = (*Service)(nil)
)

// Open makes the spool ready and removes from it what a crash has left of uploads that are no longer open.
func Open(o Options) (*Service, error) {
	if o.SpoolBytes == 0 {
		o.SpoolBytes = defaultSpoolBytes
	}
	if o.OrphansAfter == 0 {
		o.OrphansAfter = defaultOrphansAfter
	}
	if o.UploadTTL == 0 {
		o.UploadTTL = defaultUploadTTL
	}
	if o.PhotosChanged == nil {
		o.PhotosChanged = func(*store.Tx, *storagev1.TaskRecord, uint64) error { return nil }
	}
	if o.Spool == nil {
		dir, err := openDirSpool(o.SpoolDir)
		if err != nil {
			return nil, err
		}
		o.Spool = dir
	}
	spool, err := openSpool(context.Background(), o.Spool, o.SpoolBytes, o.Log)
	if err != nil {
		return nil, err
	}
	tus, err := newTus(spool)
	if err != nil {
		return nil, err
	}
	s := &Service{
		store: o.Store, blobs: o.Blobs, spool: spool, tus: tus, commits: memorylocker.New(), looks: newLooks(), log: o.Log, uploadTTL: o.UploadTTL,
		photosChanged: o.PhotosChanged, holdsChanged: make(chan struct{}, 1), orphansAfter: o.OrphansAfter,
	}
	if s.linkSecret, err = openLinkSecret(context.Background(), o.Store); err != nil {
		return nil, fmt.Errorf("preparing the secret of photo links: %w", err)
	}
	if err := s.sweep(context.Background()); err != nil {
		return nil, fmt.Errorf("sweeping the spool: %w", err)
	}
	return s, nil
}

// Routes mounts the uploads (HEAD, PATCH and OPTIONS by tus 1.0), previews, originals, thumbnails, dossiers and public copies.
// Whoever composes the server puts authentication before the mux: all but the public copies look for the Principal in the
// request's context.
func (s *Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc(uploadsPath, s.serveUpload)
	mux.HandleFunc("GET /v1/tasks/{task}/photos/{photo}", s.servePhoto)
	mux.HandleFunc("GET /v1/tasks/{task}/photos/{photo}/thumbnail", s.serveThumbnail)
	mux.HandleFunc("PUT /v1/tasks/{task}/photos/{photo}/preview", s.servePreview)
	mux.HandleFunc("GET /v1/tasks/{task}/evidence.zip", s.serveDossier)
	mux.HandleFunc("GET "+publicPath+"{task}/{photo}/{capability}", s.servePublic)
}

// sweep removes the bytes of uploads that were looked into or dropped. Commit removes them after its transaction, and a late
// PATCH may write them once more: a crash, or that race, leaves them behind. It also counts what is left.
func (s *Service) sweep(ctx context.Context) error {
	spooled, err := s.spool.count(ctx)
	if err != nil {
		return err
	}
	var over []string
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for _, id := range spooled {
			upload, err := store.Get(tx, store.UploadKey(id))
			if err != nil {
				return err
			}
			if state := upload.GetState(); state != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE && state != fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED {
				over = append(over, id)
			}
		}
		return nil
	})
	for _, id := range over {
		err = errors.Join(err, s.spool.remove(ctx, id))
	}
	return err
}
