package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media/picture"
	"github.com/cong1022/fieldsync/store"
)

const (
	// lookAgainAfter is how long the worker waits after a failure.
	lookAgainAfter = 30 * time.Second
	// lookBatch is how many received uploads the worker lists at a time.
	lookBatch = 50
	// lookNowBytes is the largest photo that is looked into within its commit. A phone's photo of 3 MB takes longer to decode than
	// to take in, and the phone has no reason to wait for that.
	lookNowBytes = 1 << 20
)

// looks bounds what decoding costs. Half the processors may be at it, so that the other half serves phones meanwhile; as many
// calls may wait for a place. Who comes after them leaves the photo to the worker, and so does whoever brings a large one.
type looks struct {
	places chan struct{}
	asking atomic.Int32
	// received wakes the worker.
	received chan struct{}
}

func newLooks() *looks {
	return &looks{places: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), received: make(chan struct{}, 1)}
}

// lookNow looks into the bytes of an upload if there is room to do it within the call. nil: there is none, or it failed, and
// the worker has to.
func (s *Service) lookNow(ctx context.Context, upload *storagev1.Upload) *storagev1.Look {
	defer s.looks.asking.Add(-1)
	if int(s.looks.asking.Add(1)) > 2*cap(s.looks.places) || upload.GetSizeBytes() > lookNowBytes {
		return nil
	}
	look, err := s.look(ctx, upload)
	if err != nil {
		s.log.WarnContext(ctx, "a photo was not looked into with its commit", "upload", upload.GetId(), "error", err)
		return nil
	}
	return look
}

// look returns what is in an original that is kept: as it was found before, or by looking, in which case its thumbnail is kept. It
// looks again where the thumbnail was lost, as it may be together with the original.
func (s *Service) look(ctx context.Context, upload *storagev1.Upload) (look *storagev1.Look, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		look, err = store.Get(tx, store.LookKey(upload.GetSha256()))
		return err
	})
	if err != nil {
		return nil, err
	}
	if look != nil {
		kept, err := s.thumbnailKept(ctx, look)
		if err != nil || kept {
			return look, err
		}
	}
	select {
	case s.looks.places <- struct{}{}:
		defer func() { <-s.looks.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	content, size, err := s.content(ctx, upload)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	found, err := picture.Inspect(content, size)
	if err != nil {
		return nil, err
	}
	look = recordOf(found)
	if len(found.Thumbnail) > 0 {
		sum := sha256.Sum256(found.Thumbnail)
		if err := s.blobs.Put(ctx, sum, bytes.NewReader(found.Thumbnail)); err != nil {
			return nil, fmt.Errorf("keeping a thumbnail: %w", err)
		}
		look.ThumbnailSha256 = sum[:]
	}
	return look, nil
}

func (s *Service) thumbnailKept(ctx context.Context, look *storagev1.Look) (bool, error) {
	if len(look.GetThumbnailSha256()) == 0 {
		return true, nil // It has none.
	}
	content, _, err := s.blobs.Open(ctx, [sha256.Size]byte(look.GetThumbnailSha256()))
	if errors.Is(err, ErrBlobNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, content.Close()
}

// content opens an original in the spool, where it lies near until it was looked into; else where it is kept.
func (s *Service) content(ctx context.Context, upload *storagev1.Upload) (io.ReadSeekCloser, int64, error) {
	spooled, size, err := s.spool.bytes.Open(ctx, upload.GetId())
	if errors.Is(err, fs.ErrNotExist) {
		return s.blobs.Open(ctx, [sha256.Size]byte(upload.GetSha256()))
	}
	return spooled, size, err
}

func recordOf(found picture.Look) *storagev1.Look {
	look := &storagev1.Look{
		Look: &fieldsyncv1.PhotoLook{
			ContentType: found.MediaType,
			Width:       uint32(found.Width),  //nolint:gosec // No decoder gives more than 31 bits.
			Height:      uint32(found.Height), //nolint:gosec // The same.
			Blurhash:    found.Blurhash, Thumbnail: len(found.Thumbnail) > 0,
		},
		Damage: damageFinding(found),
	}
	if !found.Taken.IsZero() {
		look.Look.TakenAt, look.Look.TakenOffsetAssumed = timestamppb.New(found.Taken), found.Assumed
	}
	if p := found.Position; p != nil {
		look.Look.Position = &fieldsyncv1.Position{Latitude: p.Latitude, Longitude: p.Longitude, AccuracyM: float32(p.AccuracyM)}
	}
	if found.Hashed {
		look.PerceptualHash = &found.Hash
	}
	return look
}

// runLooks is the worker for the photos for which there was no room within their commit.
func (s *Service) runLooks(ctx context.Context) {
	again := time.NewTimer(lookAgainAfter)
	defer again.Stop()
	for {
		if err := s.lookIntoReceived(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "received photos cannot be looked into now", "error", err)
			again.Reset(lookAgainAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.looks.received:
		case <-again.C:
		}
	}
}

// lookIntoReceived works on what waits until nothing does. One photo's trouble does not hold the others up.
func (s *Service) lookIntoReceived(ctx context.Context) error {
	var after store.Key[storagev1.Upload]
	var failed []error
	for {
		var ids []string
		err := s.store.View(ctx, func(tx *store.Tx) error {
			for waiting, err := range store.Scan(tx, store.ReceivedUploads(), after) {
				if err != nil {
					return err
				}
				if ids = append(ids, waiting.GetId()); len(ids) == lookBatch {
					break
				}
			}
			return nil
		})
		if err != nil || len(ids) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for _, id := range ids {
			after = store.ReceivedUploadKey(id)
			begun := time.Now() //nolint:forbidigo // How long the machine took, whatever time it is.
			if err := s.settleReceived(ctx, id); err != nil {
				failed = append(failed, fmt.Errorf("upload %s: %w", id, err))
			}
			// As long again: half a processor at the most is taken from the phones that send meanwhile.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Since(begun)): //nolint:forbidigo // The same.
			}
		}
	}
}

func (s *Service) settleReceived(ctx context.Context, id string) error {
	var upload *storagev1.Upload
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		upload, err = store.Get(tx, store.UploadKey(id))
		return err
	})
	if err != nil {
		return err
	}
	look, err := s.look(ctx, upload)
	if err != nil {
		return err
	}
	if err := s.arrived(ctx, upload, look); err != nil {
		return err
	}
	s.unspool(ctx, upload)
	return nil
}
