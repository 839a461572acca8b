package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/memory"
)

// origin is where phones think that the server is.
const origin = "http://house.simulated"

// mutant is a deliberate fault at a seam of the server: what the simulator must catch. The zero value is an honest server.
type mutant struct {
	engine  func(store.Engine) store.Engine
	handler func(http.Handler) http.Handler
	blobs   func(media.Blobs) media.Blobs
}

// house is the server with what outlives its process: disk, photos, spool.
type house struct {
	w      *world
	mutant mutant
	disk   disk
	blobs  *blobs
	spool  string

	engine  *faulty
	handler http.Handler
	rooms   *server.Rooms
	store   *store.Store
	// skew is by how much the server's clock is ahead.
	skew time.Duration
	// truth reads what is durable, past the faults.
	truth *store.Store
	// log keeps the newest thing that the server called an error.
	log lastError
	// backup is an old state of the disk, nil where none was made; backedUp is when it was, by the server's clock.
	backup   *memory.Disk
	backedUp time.Time
	// restored is when the old state was put back last, by the server's clock.
	restored time.Time
	// epochs counts the lives of the data: it rises with each restore.
	epochs int
}

func newHouse(w *world, mutant mutant, on disk) *house {
	return &house{w: w, mutant: mutant, disk: on, blobs: &blobs{kept: make(map[[sha256.Size]byte][]byte)}, spool: filepath.Join(w.dir, "spool")}
}

// start starts the server over what lies on its disk.
func (h *house) start() error {
	h.truth = nil // What it read is closed.
	inner, err := h.disk.open()
	if err != nil {
		return err
	}
	if h.mutant.engine != nil {
		inner = h.mutant.engine(inner)
	}
	h.engine = newFaulty(inner, h.w.nextFate, h.w.checkDense)
	options := store.Options{Clock: h.clock, Random: h.w.random}
	st, err := store.Open(h.w.ctx, h.engine, options)
	if err != nil {
		return err
	}
	h.store = st
	if h.truth, err = store.Open(h.w.ctx, inner, options); err != nil {
		return err
	}
	var kept media.Blobs = h.blobs
	if h.mutant.blobs != nil {
		kept = h.mutant.blobs(kept)
	}
	if h.rooms, err = server.Compose(h.w.ctx, server.Parts{
		Store: st, Blobs: kept, SpoolDir: h.spool, Issuer: "simulated", Log: slog.New(&h.log),
		// A grant that ends only locks out, which auth's tests hold; here months pass, and phones must come back from them.
		Tokens: server.TokenConfig{AccessTTL: 15 * time.Minute, CodeTTL: 10 * time.Minute, DeviceGrant: 100 * 365 * 24 * time.Hour},
	}); err != nil {
		return err
	}
	h.handler = h.rooms.Handler()
	if h.mutant.handler != nil {
		h.handler = h.mutant.handler(h.handler)
	}
	return nil
}

// clock is the server's.
func (h *house) clock() time.Time { return h.w.now.Add(h.skew) }

// restart ends the server as it is and starts another: after a kill, or in good order.
func (h *house) restart() error {
	_ = h.engine.Close() // A killed one is past caring.
	return h.start()
}

// revert puts the old state back and gives the server another epoch, as an operator who restores a backup does.
func (h *house) revert() error {
	_ = h.engine.Close()
	if err := h.disk.revert(h.backup); err != nil {
		return err
	}
	h.epochs++
	h.restored = h.clock()
	inner, err := h.disk.open()
	if err != nil {
		return err
	}
	st, err := store.Open(h.w.ctx, inner, store.Options{Clock: h.clock, Random: h.w.random})
	if err != nil {
		return err
	}
	if err := st.RenewEpoch(h.w.ctx, h.backedUp); err != nil {
		return err
	}
	_ = inner.Close()
	return h.start()
}

// disk is what an engine lies on.
type disk interface {
	open() (store.Engine, error)
	// backup returns the present state, nil where the disk makes none.
	backup() *memory.Disk
	// revert puts an old state in the place of the present one.
	revert(old *memory.Disk) error
}

type memoryDisk struct{ disk *memory.Disk }

func (d *memoryDisk) open() (store.Engine, error) { return d.disk.Open(), nil }

func (d *memoryDisk) backup() *memory.Disk { return d.disk.Clone() }

func (d *memoryDisk) revert(old *memory.Disk) error {
	d.disk = old.Clone()
	return nil
}

// badgerDisk is the real engine in a folder. It makes no backups: those are the memory's part.
type badgerDisk struct{ dir string }

func (d *badgerDisk) open() (store.Engine, error) {
	return embedded.Open(d.dir, slog.New(slog.DiscardHandler))
}

func (d *badgerDisk) backup() *memory.Disk { return nil }

func (d *badgerDisk) revert(old *memory.Disk) (err error) {
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	to, err := d.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return old.Open().View(context.Background(), func(from store.KV) error {
		return to.Update(context.Background(), func(kv store.KV) error {
			for pair, err := range from.Range(nil, []byte{0xff}) {
				if err != nil {
					return err
				}
				if err := kv.Set(pair.Key, pair.Value); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// blobs keeps photos in memory.
type blobs struct{ kept map[[sha256.Size]byte][]byte }

// Put implements media.Blobs.
func (b *blobs) Put(_ context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	all, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if sha256.Sum256(all) != sum {
		return media.ErrBlobMismatch
	}
	b.kept[sum] = all
	return nil
}

// Open implements media.Blobs.
func (b *blobs) Open(_ context.Context, sum [sha256.Size]byte) (io.ReadSeekCloser, int64, error) {
	content, ok := b.kept[sum]
	if !ok {
		return nil, 0, media.ErrBlobNotFound
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(content), io.NopCloser(nil)}, int64(len(content)), nil
}

// List implements media.Blobs.
func (b *blobs) List(context.Context) iter.Seq2[media.Kept, error] {
	return func(yield func(media.Kept, error) bool) {
		for sum := range b.kept {
			if !yield(media.Kept{Sum: sum}, nil) {
				return
			}
		}
	}
}

// Remove implements media.Blobs.
func (b *blobs) Remove(_ context.Context, sum [sha256.Size]byte) error {
	delete(b.kept, sum)
	return nil
}

// Hold implements media.Blobs.
func (b *blobs) Hold(context.Context, [sha256.Size]byte, bool) error { return nil }

// lastError is a log that remembers the newest error.
type lastError struct{ text string }

// Enabled implements slog.Handler.
func (l *lastError) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

// Handle implements slog.Handler.
func (l *lastError) Handle(_ context.Context, r slog.Record) error {
	l.text = r.Message
	r.Attrs(func(a slog.Attr) bool {
		l.text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	return nil
}

// WithAttrs implements slog.Handler.
func (l *lastError) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *lastError) WithGroup(string) slog.Handler { return l }

// copyTree copies a phone's folder: files and one level of folders.
func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}
