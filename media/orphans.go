package media

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// defaultOrphansAfter leaves time to put an older backup of the store right: the phones then declare their photos again, and
	// what they had sent is still there.
	defaultOrphansAfter = 30 * 24 * time.Hour
	// recordsAtOnce bounds how long one snapshot is held while all records are read.
	recordsAtOnce = 500
	// doomAtOnce keeps a transaction small.
	doomAtOnce = 100
)

// CollectOrphans removes content that no record refers to and that was put longer ago than Options.OrphansAfter: what a crash has
// left between Put and its transaction, previews whose original has come, thumbnails that were made twice. It returns how many
// were removed.
//
// What any record refers to is never removed, though records are written meanwhile:
//  1. what is old and not referred to is doomed, by a record;
//  2. from then on no transaction may refer to it (notDoomed, in each transaction that follows a Put);
//  3. all records are read once more: whatever was referred to before it was doomed is seen now, and spared;
//  4. the rest is removed, then its doom.
//
// A crash in between leaves the doom, and the next start goes on at 3. The reading costs 8 bytes of memory for each reference.
func (s *Service) CollectOrphans(ctx context.Context) (removed int, err error) {
	if s.orphansAfter < 0 {
		return 0, nil
	}
	referred, err := s.references(ctx)
	if err != nil {
		return 0, err
	}
	limit := s.store.Now().Add(-s.orphansAfter)
	var orphans [][]byte
	for kept, err := range s.blobs.List(ctx) {
		if err != nil {
			return 0, err
		}
		if kept.Since.Before(limit) && !referred.has(kept.Sum[:]) {
			orphans = append(orphans, kept.Sum[:])
		}
	}
	for some := range slices.Chunk(orphans, doomAtOnce) {
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			for _, sha := range some {
				if err := store.Put(tx, store.DoomedKey(sha), &storagev1.Doomed{Sha256: sha, Since: tx.Timestamp()}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return s.removeDoomed(ctx)
}

// finishRemovals goes on where a crash or the store's absence has left a collection.
func (s *Service) finishRemovals(ctx context.Context) error {
	_, err := s.removeDoomed(ctx)
	return err
}

func (s *Service) removeDoomed(ctx context.Context) (removed int, err error) {
	s.removing.Lock()
	defer s.removing.Unlock()
	var doomed [][]byte
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for one, err := range store.Scan(tx, store.AllDoomed(), nil) {
			if err != nil {
				return err
			}
			doomed = append(doomed, one.GetSha256())
		}
		return nil
	})
	if err != nil || len(doomed) == 0 {
		return 0, err
	}
	referred, err := s.references(ctx)
	if err != nil {
		return 0, err
	}
	locked := 0
	for _, sha := range doomed {
		if !referred.has(sha) {
			err := s.blobs.Remove(ctx, [sha256.Size]byte(sha))
			switch {
			case err == nil:
				removed++
			case errors.Is(err, ErrBlobLocked):
				locked++
			default:
				return removed, err
			}
		}
		err := s.store.Update(ctx, func(tx *store.Tx) error { return store.Delete(tx, store.DoomedKey(sha)) })
		if err != nil {
			return removed, err
		}
	}
	s.log.InfoContext(ctx, "content that no record refers to was collected", "removed", removed, "locked", locked, "spared", len(doomed)-removed-locked)
	return removed, nil
}

// notDoomed is asked in each transaction that makes a record refer to content that was put before it.
func notDoomed(tx *store.Tx, shas ...[]byte) error {
	for _, sha := range shas {
		if len(sha) == 0 {
			continue
		}
		doomed, err := store.Get(tx, store.DoomedKey(sha))
		if err != nil {
			return err
		}
		if doomed != nil {
			return storeUnavailable()
		}
	}
	return nil
}

func storeUnavailable() error {
	unavailable := fault.New(fault.Unavailable, "photo_store_unavailable",
		"Kho ảnh tạm thời không làm việc; dữ liệu đã gửi vẫn còn. Hãy thử lại sau.",
		"The store of photos does not work now; what was sent is still here. Try again later.")
	unavailable.RetryAfter = blobsRetryAfter
	return unavailable
}

// references are the first eight bytes of every hash that a record names, sorted. Two hashes with the same ones are taken for
// each other: then an orphan stays.
type references []uint64

func (r *references) add(shas ...[]byte) {
	for _, sha := range shas {
		if len(sha) == sha256.Size {
			*r = append(*r, binary.BigEndian.Uint64(sha))
		}
	}
}

func (r *references) has(sha []byte) bool {
	_, found := slices.BinarySearch(*r, binary.BigEndian.Uint64(sha))
	return found
}

// references reads every task, upload and hold, each family page by page: a record that is written before it begins is seen.
func (s *Service) references(ctx context.Context) (r references, err error) {
	look := func(tx *store.Tx, sha []byte) error {
		look, err := store.Get(tx, store.LookKey(sha))
		if err == nil {
			r.add(sha, look.GetThumbnailSha256(), look.GetPublicSha256())
		}
		return err
	}
	err = errors.Join(
		eachRecord(ctx, s.store, store.Tasks(), func(tx *store.Tx, record *storagev1.TaskRecord) (store.Key[storagev1.TaskRecord], error) {
			for _, photo := range record.GetTask().GetPhotos() {
				r.add(photo.GetPreviewSha256())
				if err := look(tx, photo.GetSha256()); err != nil {
					return nil, err
				}
			}
			return store.TaskKey(record.GetTask().GetId()), nil
		}),
		eachRecord(ctx, s.store, store.Uploads(), func(tx *store.Tx, upload *storagev1.Upload) (store.Key[storagev1.Upload], error) {
			return store.UploadKey(upload.GetId()), look(tx, upload.GetSha256())
		}),
		eachRecord(ctx, s.store, store.AllHeldOriginals(), func(tx *store.Tx, held *storagev1.HeldOriginal) (store.Key[storagev1.HeldOriginal], error) {
			return store.HeldOriginalKey(held.GetSha256(), held.GetTicketId()), look(tx, held.GetSha256())
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("reading what records refer to: %w", err)
	}
	slices.Sort(r)
	return slices.Compact(r), nil
}

// eachRecord calls f, which returns the record's key, for each record under a prefix, in snapshots of recordsAtOnce each.
func eachRecord[T any, M interface {
	*T
	proto.Message
}](ctx context.Context, st *store.Store, prefix store.Prefix[T], f func(*store.Tx, M) (store.Key[T], error)) error {
	var after store.Key[T]
	for {
		count := 0
		err := st.View(ctx, func(tx *store.Tx) error {
			for record, err := range store.Scan[T, M](tx, prefix, after) {
				if err != nil {
					return err
				}
				if after, err = f(tx, record); err != nil {
					return err
				}
				if count++; count == recordsAtOnce {
					return nil
				}
			}
			return nil
		})
		if err != nil || count < recordsAtOnce {
			return err
		}
	}
}
