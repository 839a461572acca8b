// Package backup keeps a copy of a store somewhere else, and makes a store of it again. A Shipper sends what is new in the
// journal, and each snapshot, to a Target while the server runs; Restore makes a data folder from nothing but the Target, as
// it was at a given time; Verify reads all of a Target.
package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store/embedded"
)

// partBytes is how much of the journal goes into one object at most, about.
const partBytes = 16 << 20

// Originals lists what a store's photos are: the hash, and how to read it. A Shipper sends each once.
type Originals func(ctx context.Context, yield func(sha256 string, open func() (io.ReadCloser, error)) error) error

// Options are how a store is shipped.
type Options struct {
	Engine *embedded.Engine
	Target Target
	// Recipients are who can read the backup (age). It is not encrypted where there are none.
	Recipients []age.Recipient
	// Originals are the photos. None are sent where it is nil: they lie in an object store already.
	Originals Originals
	// Every is how often Run looks for something new. A second by default: so much is lost with the server's disk, of what
	// no phone holds any more.
	Every time.Duration
	Log   *slog.Logger
}

// Shipper sends a store's journal, snapshots and photos to a Target. Its methods are safe for concurrent use.
type Shipper struct {
	options Options

	shipping sync.Mutex // One at a time.
	known    bool       // What the target holds was listed.
	shipped  uint64     // Up to this record the target has all behind its newest snapshot.
	snapshot uint64     // The position of the newest snapshot in the target.
	any      bool       // There is one.
	photos   map[string]bool

	mu      sync.Mutex
	reached Reached
}

// Reached is how far a backup goes.
type Reached struct {
	// Sequence is the number of the newest record of the journal that is in the target.
	Sequence uint64
	// At is when it was committed: zero where nothing was sent since the start.
	At time.Time
}

// New makes a Shipper.
func New(o Options) *Shipper {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Shipper{options: o}
}

// Reached tells how far the backup goes.
func (s *Shipper) Reached() Reached {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// Run ships until ctx ends. While the target does not answer it tries again, ever more seldom, at least each minute; the
// store is not held up by that.
func (s *Shipper) Run(ctx context.Context) error {
	wait := s.options.Every
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if err := s.Ship(ctx); err != nil && ctx.Err() == nil {
			wait = min(2*wait, time.Minute)
			s.options.Log.ErrorContext(ctx, "backup: shipping", "error", err, "again_in", wait)
			continue
		}
		wait = s.options.Every
	}
}

// Ship sends all that is new and returns when the target has it.
func (s *Shipper) Ship(ctx context.Context) error {
	s.shipping.Lock()
	defer s.shipping.Unlock()
	if !s.known {
		if err := s.list(ctx); err != nil {
			return err
		}
	}
	if err := s.shipSnapshot(ctx); err != nil {
		return err
	}
	if err := s.shipJournal(ctx); err != nil {
		return err
	}
	return s.shipPhotos(ctx)
}

// list finds out what the target has of this journal.
func (s *Shipper) list(ctx context.Context) error {
	objects, _, err := List(ctx, s.options.Target)
	if err != nil {
		return err
	}
	s.photos = make(map[string]bool)
	id := s.options.Engine.Journal().ID()
	for _, o := range objects {
		if o.Kind == kindPhoto {
			s.photos[o.sum] = true
		} else if o.Journal == id && o.Kind == kindSnapshot {
			s.any, s.snapshot = true, max(s.snapshot, o.Last)
		}
	}
	s.shipped = s.snapshot
	for _, o := range objects { // Sorted by their first record.
		if o.Kind == kindPart && o.Journal == id && o.First <= s.shipped+1 {
			s.shipped = max(s.shipped, o.Last)
		}
	}
	s.known = true
	return nil
}

// shipSnapshot sends the newest snapshot, if the target has not got it: none is needed for the journal to go on from where it
// is, unless the journal has forgotten what would come next.
func (s *Shipper) shipSnapshot(ctx context.Context) error {
	snapshots, err := s.options.Engine.Snapshots()
	if err != nil || len(snapshots) == 0 {
		return err
	}
	newest := snapshots[len(snapshots)-1]
	if s.any && newest.Position <= s.snapshot {
		return nil
	}
	file, err := os.Open(newest.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := s.put(ctx, file, func(sum string) string {
		return journalName(s.options.Engine.Journal().ID(), kindSnapshot, newest.Position, newest.Position, info.ModTime(), sum)
	}); err != nil {
		return err
	}
	if first := s.options.Engine.Journal().First(); s.any && first > s.shipped+1 {
		s.options.Log.WarnContext(ctx, "backup: the journal has forgotten records that were not sent; no time between can be restored",
			"from", s.shipped+1, "to", first-1)
	}
	if !s.any || s.options.Engine.Journal().First() > s.shipped+1 {
		s.shipped = newest.Position
	}
	s.any, s.snapshot = true, newest.Position
	return nil
}

func (s *Shipper) put(ctx context.Context, content io.Reader, name func(sum string) string) (err error) {
	file, sum, err := seal(content, true, s.options.Recipients)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard(file)) }()
	full := name(sum)
	if len(s.options.Recipients) > 0 {
		full += ".age"
	}
	return s.options.Target.Put(ctx, full, file)
}

func (s *Shipper) shipJournal(ctx context.Context) error {
	j := s.options.Engine.Journal()
	for last := j.Last(); s.shipped < last; {
		part, err := collect(s.options.Engine, s.shipped+1)
		if err != nil {
			return err
		}
		if err := s.put(ctx, bytes.NewReader(part.content), func(sum string) string {
			return journalName(j.ID(), kindPart, part.first, part.last, part.at, sum)
		}); err != nil {
			return err
		}
		s.shipped = part.last
		s.mu.Lock()
		s.reached = Reached{part.last, part.at}
		s.mu.Unlock()
	}
	return nil
}

func commitTime(payload []byte) (time.Time, error) {
	batch := new(storagev1.JournalBatch)
	if err := proto.Unmarshal(payload, batch); err != nil {
		return time.Time{}, err
	}
	return batch.GetAt().AsTime(), nil
}

func (s *Shipper) shipPhotos(ctx context.Context) error {
	if s.options.Originals == nil {
		return nil
	}
	return s.options.Originals(ctx, func(sum string, open func() (io.ReadCloser, error)) (err error) {
		if s.photos[sum] {
			return nil
		}
		content, err := open()
		if err != nil {
			return fmt.Errorf("photo %s: %w", sum, err)
		}
		defer content.Close()
		file, _, err := seal(content, false, s.options.Recipients)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, discard(file)) }()
		name := kindPhoto + "/" + sum
		if len(s.options.Recipients) > 0 {
			name += ".age"
		}
		if err := s.options.Target.Put(ctx, name, file); err != nil {
			return err
		}
		s.photos[sum] = true
		return nil
	})
}
