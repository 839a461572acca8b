package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/cong1022/fieldsync/store"
)

type photoSum = [sha256.Size]byte

// photos is which photos there are, which of them the target has, and which it has still to get. All of a store's are looked
// through once; after that the records that go by tell of new ones.
type photos struct {
	sending *sync.Mutex // One at a time.

	mu         *sync.Mutex
	sent       map[photoSum]bool
	waiting    []photoSum
	unreadable map[photoSum]bool
	scanned    bool
	done       Reached
}

func newPhotos() photos {
	return photos{sending: new(sync.Mutex), mu: new(sync.Mutex), sent: make(map[photoSum]bool), unreadable: make(map[photoSum]bool)}
}

// relist takes what the target holds. Where it holds less than was sent, all of the store's are looked through again, and nothing is
// said of how far they go until then.
func (p *photos) relist(objects []Object) {
	holds := make(map[photoSum]bool)
	for _, o := range objects {
		if sum, err := hex.DecodeString(o.sum); o.Kind == kindPhoto && err == nil && len(sum) == sha256.Size {
			holds[photoSum(sum)] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for sum, sent := range p.sent {
		if sent && !holds[sum] {
			p.scanned, p.done = false, Reached{}
		}
	}
	p.sent = holds
}

// found notes photos that records speak of.
func (p *photos) found(sums []photoSum) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range sums {
		if !p.sent[s] {
			p.waiting = append(p.waiting, s)
		}
	}
}

func (p *photos) rescan() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scanned = false
}

func (p *photos) through() Reached {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *photos) counts() (waiting, unreadable int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting), len(p.unreadable)
}

// take returns what is to be sent.
func (p *photos) take() (waiting []photoSum, scanned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting, scanned = p.waiting, p.scanned
	p.waiting, p.scanned = nil, true
	return waiting, scanned
}

// settle notes what has become of a photo.
func (p *photos) settle(s photoSum, readable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[s] = p.sent[s] || readable
	if readable {
		delete(p.unreadable, s)
	} else {
		p.unreadable[s] = true
	}
}

func (p *photos) has(s photoSum) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[s]
}

// reached notes how far the photos go, unless the target was found to hold less in the meantime.
func (p *photos) reached(r Reached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scanned {
		p.done = r
	}
}

// shipPhotos sends the photos that are known of, and those that the records shipped so far speak of.
func (s *Shipper) shipPhotos(ctx context.Context) (err error) {
	s.photos.sending.Lock()
	defer s.photos.sending.Unlock()
	s.mu.Lock()
	through := s.journal
	s.mu.Unlock()
	if through.Sequence == 0 {
		return nil // The target has not been listed yet.
	}
	if s.options.Photo == nil {
		s.photos.take()
		s.photos.reached(through)
		return nil
	}
	waiting, scanned := s.photos.take()
	defer func() {
		if err != nil { // They go on waiting.
			s.photos.found(waiting)
		}
	}()
	if !scanned {
		all, err := s.scan(ctx)
		if err != nil {
			s.photos.rescan()
			return err
		}
		waiting = append(waiting, all...)
	}
	for i, total := 0, len(waiting); len(waiting) > 0; i++ {
		s.options.Progress(StepPhotos, int64(i), int64(total))
		if err := s.shipPhoto(ctx, waiting[0]); err != nil {
			return err
		}
		waiting = waiting[1:]
	}
	s.photos.reached(through)
	return nil
}

// scan lists the photos of the whole store that the target does not have.
func (s *Shipper) scan(ctx context.Context) (missing []photoSum, err error) {
	err = s.options.Engine.View(ctx, func(kv store.KV) error {
		missing = nil
		for _, prefix := range store.BlobRecords() {
			for pair, err := range kv.Range(prefix, append(prefix[:len(prefix)-1:len(prefix)-1], 1)) {
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return err
				}
				sums, err := store.KeptBlobs(pair.Key, pair.Value)
				if err != nil {
					return err
				}
				for _, found := range sums {
					if !s.photos.has(found) {
						missing = append(missing, found)
					}
				}
			}
		}
		return nil
	})
	return missing, err
}

// shipPhoto sends a photo, unless the target has it. One that cannot be read holds up nothing: it is told, and a check names it.
func (s *Shipper) shipPhoto(ctx context.Context, photo photoSum) (err error) {
	if s.photos.has(photo) {
		return nil
	}
	unreadable := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.photos.settle(photo, false)
		s.options.Log.ErrorContext(ctx, "backup: a photo cannot be sent, and is tried again at the next start", "sha256", hex.EncodeToString(photo[:]), "error", err)
		return nil
	}
	content, err := s.options.Photo(ctx, photo)
	if err != nil {
		return unreadable(err)
	}
	defer content.Close()
	whole := &hashed{Reader: content, hash: sha256.New()}
	file, _, err := seal(whole, false, s.options.Recipients)
	if err != nil {
		if whole.failed != nil {
			return unreadable(whole.failed)
		}
		return err
	}
	defer func() { err = errors.Join(err, discard(file)) }()
	if got := photoSum(whole.hash.Sum(nil)); got != photo {
		return unreadable(fmt.Errorf("it is damaged: its SHA-256 is %x", got))
	}
	name := kindPhoto + "/" + hex.EncodeToString(photo[:])
	if len(s.options.Recipients) > 0 {
		name += encryptedSuffix
	}
	if err := s.options.Target.Put(ctx, name, file); err != nil {
		return err
	}
	s.photos.settle(photo, true)
	return nil
}

// hashed hashes what is read through it, and tells its own failures from those of whoever writes.
type hashed struct {
	io.Reader

	hash   hash.Hash
	failed error
}

// Read implements io.Reader.
func (h *hashed) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.hash.Write(b[:n]) // A hash takes everything.
	if err != nil && !errors.Is(err, io.EOF) {
		h.failed = err
	}
	return n, err
}
