// Package backup keeps a copy of a store somewhere else, and makes a store of it again. A Shipper sends what is new in the
// journal, each snapshot, and the photos to a Target while the server runs; Restore makes a data folder from nothing but the
// Target, as it was at a given time; Verify reads all of a Target.
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store/embedded"
)

// Options are how a store is shipped.
type Options struct {
	Engine *embedded.Engine
	Target Target
	// Recipients are who can read the backup (age). It is not encrypted where there are none.
	Recipients []age.Recipient
	// Photo opens content that a record refers to by its SHA-256: originals and what was made of them. Each is sent once. None
	// are sent where it is nil: they lie in an object store already.
	Photo func(ctx context.Context, sha256 [sha256.Size]byte) (io.ReadCloser, error)
	// Every is how often Run looks for something new. A second by default: so much is lost with the server's disk, of what
	// no phone holds any more.
	Every time.Duration
	// Keep is for how long each moment can be restored to: what only older ones need is removed from the target when a snapshot was
	// sent. 0: nothing is removed.
	Keep time.Duration
	// Now tells the time, by which what is to be kept is judged. time.Now by default.
	Now func() time.Time
	// Progress hears of Ship how much is sent: a snapshot, records of the journal, photos.
	Progress Progress
	Log      *slog.Logger
}

// Shipper sends a store's journal, snapshots and photos to a Target. Its methods are safe for concurrent use.
type Shipper struct {
	options Options

	shipping sync.Mutex // One at a time: what follows is its.
	known    bool       // What the target holds was listed.
	writer   string     // The name of the object that says that this one writes there.
	newest   string     // The name of what was sent last, and of the newest snapshot, as far as they are known.
	base     string
	looked   time.Time // When that was seen in the target.
	shipped  Reached   // Up to this record the target has all behind its newest snapshot.
	snapshot uint64    // The position of the newest snapshot in the target.
	any      bool      // There is one.

	photos photos

	mu      sync.Mutex
	journal Reached            // shipped, for everybody to read.
	failed  map[string]failure // By what was tried.
}

// failure is why an attempt came to nothing, and when.
type failure struct {
	err error
	at  time.Time
}

// Reached is how far a backup goes.
type Reached struct {
	// Sequence is the number of the newest record of the journal that is in the target, with all photos that were kept by then.
	// 0: it is not known yet.
	Sequence uint64
	// At is when it was committed; of a snapshot, when that was written.
	At time.Time
}

// State is what is to be told of a Shipper.
type State struct {
	Reached

	// PhotosWaiting is how many photos are known and not sent yet.
	PhotosWaiting int
	// Failed is why the last attempt came to nothing, FailedAt when that was. Nil once one has succeeded.
	Failed   error
	FailedAt time.Time
	// Unreadable is how many photos could not be sent because the originals are missing or damaged.
	Unreadable int
}

// New makes a Shipper.
func New(o Options) *Shipper {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Step, int64, int64) {}
	}
	return &Shipper{options: o, photos: newPhotos(), failed: make(map[string]failure)}
}

// Reached tells how far the backup goes.
func (s *Shipper) Reached() Reached {
	s.mu.Lock()
	defer s.mu.Unlock()
	if through := s.photos.through(); through.Sequence < s.journal.Sequence {
		return through
	}
	return s.journal
}

// State tells how the backup is.
func (s *Shipper) State() State {
	reached := s.Reached()
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Reached: reached}
	for _, tried := range []string{triedRecords, triedPhotos} {
		if f := s.failed[tried]; f.err != nil && state.Failed == nil {
			state.Failed, state.FailedAt = f.err, f.at
		}
	}
	state.PhotosWaiting, state.Unreadable = s.photos.counts()
	return state
}

// Run ships until ctx ends. While the target does not answer it tries again, ever more seldom, at least each minute; the
// store is not held up by that. Photos go beside the journal, which does not wait for them.
func (s *Shipper) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.repeat(ctx, triedRecords, s.shipRecords) })
	group.Go(func() error { return s.repeat(ctx, triedPhotos, s.shipPhotos) })
	return group.Wait()
}

// What is tried side by side: that one succeeds says nothing of the other.
const (
	triedRecords = "records"
	triedPhotos  = "photos"
)

// sayEvery is how often the log hears of what goes on failing for the same reason.
const sayEvery = time.Hour

func (s *Shipper) repeat(ctx context.Context, tried string, ship func(context.Context) error) error {
	wait := s.options.Every
	var said failure
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		err := ship(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // The end that the caller asked for.
		}
		now := s.note(tried, err)
		if err == nil {
			if said.err != nil {
				s.options.Log.InfoContext(ctx, "backup: shipping goes on", "what", tried)
			}
			wait, said = s.options.Every, failure{}
			continue
		}
		wait = min(2*wait, time.Minute)
		if said.err == nil || fault.CodeOf(said.err) != fault.CodeOf(err) || now.Sub(said.at) >= sayEvery {
			s.options.Log.ErrorContext(ctx, "backup: shipping, which is tried again at least each minute", "what", tried, "error", err)
			said = failure{err, now}
		}
	}
}

func (s *Shipper) note(tried string, err error) time.Time {
	now := time.Now() //nolint:forbidigo // For an operator who compares it with a clock on the wall.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[tried] = failure{err, now}
	return now
}

// Ship sends all that is new and returns when the target has it. It lists the target for that, so what somebody has removed
// there is sent again, as far as the store still has it.
func (s *Shipper) Ship(ctx context.Context) error {
	s.shipping.Lock()
	s.known = false
	s.shipping.Unlock()
	err := s.shipRecords(ctx)
	if ctx.Err() == nil {
		s.note(triedRecords, err)
	}
	if err != nil {
		return err
	}
	err = s.shipPhotos(ctx)
	if ctx.Err() == nil {
		s.note(triedPhotos, err)
	}
	return err
}

func (s *Shipper) shipRecords(ctx context.Context) error {
	s.shipping.Lock()
	defer s.shipping.Unlock()
	if s.known && !s.stillThere(ctx) {
		s.known = false
	}
	if !s.known {
		if err := s.list(ctx); err != nil {
			return err
		}
	}
	if err := s.shipSnapshot(ctx); err != nil {
		return err
	}
	return s.shipJournal(ctx)
}

// lookEvery is how often a shipper that has nothing to send looks whether the target still holds what was sent last.
const lookEvery = time.Minute

// stillThere tells whether the target holds what was sent last. One that was emptied, exchanged, or is a folder whose disk is not
// mounted any more would take what comes next, and phones would believe that it has what came before.
func (s *Shipper) stillThere(ctx context.Context) bool {
	now := s.options.Now()
	if s.newest == "" || s.shipped.Sequence == s.options.Engine.Journal().Last() && now.Sub(s.looked) < lookEvery {
		return true
	}
	s.looked = now
	if err := s.stillMine(ctx); err != nil {
		return false // Which the listing tells.
	}
	for _, name := range []string{s.base, s.newest} { // Was it emptied just before the newest was sent, it has that alone.
		content, err := s.options.Target.Open(ctx, name)
		if err == nil {
			_, err = io.ReadFull(content, make([]byte, 1)) // A bucket answers when it is read.
			err = errors.Join(err, content.Close())
		}
		if err != nil {
			if ctx.Err() == nil {
				s.options.Log.WarnContext(ctx, "backup: what was sent cannot be found in the repository, which is listed anew", "object", name, "error", err)
			}
			return false
		}
	}
	return true
}

// list finds out what the target has of this journal.
func (s *Shipper) list(ctx context.Context) error {
	objects, _, err := List(ctx, s.options.Target)
	if err != nil {
		return err
	}
	if err := s.mine(ctx, objects); err != nil {
		return err
	}
	if err := Mixed(objects); err != nil { // This is the one that goes on: by now no other should write.
		s.options.Log.ErrorContext(ctx, "backup: the repository holds the histories of several servers", "error", err)
	}
	s.any, s.snapshot, s.shipped, s.newest, s.base = false, 0, Reached{}, "", ""
	s.photos.relist(objects)
	id := s.options.Engine.Journal().ID()
	for _, o := range objects {
		if o.Journal == id && o.Kind == kindSnapshot && (!s.any || o.Last > s.snapshot) {
			s.any, s.snapshot = true, o.Last
			s.shipped, s.newest, s.base = Reached{o.Last, o.At}, o.Name, o.Name
		}
	}
	for _, o := range objects { // Sorted by their first record.
		if o.Kind == kindPart && o.Journal == id && o.First <= s.shipped.Sequence+1 && o.Last > s.shipped.Sequence {
			s.shipped, s.newest = Reached{o.Last, o.At}, o.Name
		}
	}
	s.known, s.looked = true, s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.Sequence > s.shipped.Sequence {
		s.options.Log.ErrorContext(ctx, "backup: the repository has lost what was sent, which is sent again", "reached", s.journal.Sequence, "holds", s.shipped.Sequence)
		s.journal = s.shipped // Phones keep what lies behind again.
	}
	return nil
}

// publish lets everybody know how far the journal is shipped.
func (s *Shipper) publish(found [][sha256.Size]byte) {
	s.photos.found(found) // First: nobody may believe that the photos of a part that is there are, too.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = s.shipped
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
	if err := s.put(ctx, &telling{Reader: file, total: info.Size(), told: s.options.Progress}, func(sum string) string {
		return journalName(s.options.Engine.Journal().ID(), kindSnapshot, newest.Position, newest.Position, info.ModTime(), sum)
	}); err != nil {
		return err
	}
	if first := s.options.Engine.Journal().First(); s.any && first > s.shipped.Sequence+1 {
		s.options.Log.WarnContext(ctx, "backup: the journal has forgotten records that were not sent; no time between can be restored",
			"from", s.shipped.Sequence+1, "to", first-1)
		s.photos.rescan() // Those records spoke of photos, maybe.
	}
	if !s.any || s.options.Engine.Journal().First() > s.shipped.Sequence+1 {
		s.shipped = Reached{newest.Position, info.ModTime()}
	}
	s.any, s.snapshot, s.base = true, newest.Position, s.newest
	s.prune(ctx)
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
		full += encryptedSuffix
	}
	if err := s.options.Target.Put(ctx, full, file); err != nil {
		return err
	}
	s.newest, s.looked = full, s.options.Now()
	return nil
}

func (s *Shipper) shipJournal(ctx context.Context) error {
	j := s.options.Engine.Journal()
	begun, last := s.shipped.Sequence, j.Last()
	for s.shipped.Sequence < last {
		s.options.Progress(StepJournal, int64(s.shipped.Sequence-begun), int64(last-begun)) //nolint:gosec // Counts.
		part, err := collect(s.options.Engine, s.shipped.Sequence+1)
		if err != nil {
			return err
		}
		if err := s.put(ctx, bytes.NewReader(part.content), func(sum string) string {
			return journalName(j.ID(), kindPart, part.first, part.last, part.at, sum)
		}); err != nil {
			return err
		}
		s.shipped = Reached{part.last, part.at}
		s.publish(part.photos)
	}
	s.publish(nil)
	return nil
}
