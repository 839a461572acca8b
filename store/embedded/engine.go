// Package embedded is the store's engine over Badger and a journal, in a folder of its own, for one process at a time. One
// writer runs the waiting transactions after each other and commits them together: one fsync, of the journal, for all that
// waited, while the next ones run. Badger is the index to what the journal and its snapshots hold, and can be made anew from them.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/gofrs/flock"

	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/journal"
)

const (
	// batchBytes and batchTransactions end the gathering of a commit. Badger takes 15 % of a memory table (16 MiB) in one
	// transaction; a commit holds at most batchBytes and one transaction more.
	batchBytes        = 1 << 20
	batchTransactions = 256
	// overhead is counted for each entry beside key and value. It is the size of a node of Badger's skip list, by which
	// Badger also bounds the number of entries in a transaction: two full transactions of empty values still fit.
	overhead = 96
)

// ErrInUse means that another process has the folder open.
var ErrInUse = errors.New("the data folder is in use by another process")

// errStopped answers everything that comes after a failed commit: it has not run. Reads as well, since nobody knows
// whether what they would see is going to be there after the next start.
var errStopped = fmt.Errorf("%w: it stopped when a commit failed", store.ErrClosed)

// Engine implements store.Engine. All methods are safe for concurrent use. After a failed commit it refuses all
// transactions with store.ErrClosed until it is closed and the folder opened again.
type Engine struct {
	folder  folder
	options Options
	lock    *flock.Flock
	db      *badger.DB
	journal *journal.Journal
	applied atomic.Uint64 // The newest record of the journal that is in Badger.
	// memoryTable is the number of the newest one of Badger's that has been looked after. For whoever commits.
	memoryTable int
	space       *space
	// patience is closePatience, and less in tests.
	patience time.Duration
	reserve  *reserve
	log      *slog.Logger
	queue    chan *request
	// syncing and applying lead from one goroutine of the writer to the next: see writer.go.
	syncing, applying chan *batch
	versions          versions
	cache             cache
	record            []byte // Of the goroutine that syncs, to be used again.
	failOnce          sync.Once
	failed            chan struct{}
	tend              chan struct{} // Tells the tender that there may be something to do.
	tended            chan struct{} // Closed when the tender has ended.
	// inspected is closed when all tables that Badger was opened with are known to be whole.
	inspected      chan struct{}
	stopInspecting func()

	checkpointing, snapshotting sync.Mutex
	forgotten                   atomic.Int64 // Bytes of the journal that are gone since the start.

	mu      sync.Mutex
	closed  bool
	closing chan struct{}  // Closed with closed.
	active  sync.WaitGroup // Transactions under way: Close waits for them. Not a lock, since one may begin within another.
	stopped chan struct{}  // Closed when the writer has ended.
}

var _ store.Engine = (*Engine)(nil)

// request is a transaction on its way through the writer.
type request struct {
	ctx context.Context //nolint:containedctx // It travels with the request to the writer and ends there.
	fn  func(store.KV) error
	err error
	pan any
	// stack is where fn panicked: the caller's own says nothing of it.
	stack []byte
	done  chan struct{}
}

// Open opens the folder dir with the default options: see OpenWith.
func Open(dir string, log *slog.Logger) (*Engine, error) { return OpenWith(dir, Options{Log: log}) }

// OpenWith opens the folder dir, which is made, for its owner only, if it does not exist. It returns when everything that was
// ever acknowledged is there: what the journal holds and Badger may have lost is put into Badger again, and a Badger that is
// missing is made anew. ErrInUse if another process has the folder, fs.ErrPermission if this one may not write there, a
// *journal.DamageError or an IndexError where something is damaged: then nothing was changed.
func OpenWith(dir string, o Options) (*Engine, error) {
	e := newEngine(dir, o)
	if err := e.open(); err != nil {
		if errors.Is(err, ErrInUse) {
			return nil, err
		}
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	e.space.inPlace = e.journal.InPlace
	go e.run()
	go e.sync()
	go e.apply()
	go e.tendFiles()
	go e.reserve.watch()
	return e, nil
}

// newEngine is an engine that has nothing open yet.
func newEngine(dir string, o Options) *Engine {
	o = o.withDefaults()
	return &Engine{
		folder:   folder(dir),
		options:  o,
		patience: closePatience,
		space:    newSpace(dir, o.Margins, o.Clock, o.Log),
		reserve:  newReserve(folder(dir), o),
		log:      o.Log,
		queue:    make(chan *request, batchTransactions),
		failed:   make(chan struct{}),
		stopped:  make(chan struct{}),
		tend:     make(chan struct{}, 1),
		tended:   make(chan struct{}),

		syncing: make(chan *batch), applying: make(chan *batch),
		inspected: make(chan struct{}), stopInspecting: func() {}, closing: make(chan struct{}),
	}
}

// probe writes in the folder, because what the operating system says of it is plainer than what Badger makes of that.
func probe(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func badgerOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		// The journal is synced, before Badger sees anything.
		WithSyncWrites(false).
		// The single writer orders all transactions, so there is nothing to detect.
		WithDetectConflicts(false).
		// Everything lies in the tables: no value log, no garbage to collect in it. Its one empty file is as small as may be.
		WithValueThreshold(1 << 20).
		WithValueLogFileSize(2 << 20).
		WithMemTableSize(memoryTableBytes).
		WithNumMemtables(3).
		WithNumVersionsToKeep(1).
		WithBlockCacheSize(64 << 20).
		// Whole tables are read before Badger opens them: see inspect.
		WithChecksumVerificationMode(options.OnBlockRead).
		WithLogger(badgerLog{log})
}

// Failed implements store.Engine.
func (e *Engine) Failed() <-chan struct{} { return e.failed }

// Close implements store.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return store.ErrClosed
	}
	e.closed = true
	close(e.closing)
	e.mu.Unlock()
	e.active.Wait()
	close(e.queue)
	<-e.stopped
	close(e.tend)
	<-e.tended
	e.reserve.close()
	return e.release()
}

// enter counts a transaction in, unless the engine takes no more. The caller counts it out.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return store.ErrClosed
	}
	if e.hasFailed() {
		return errStopped
	}
	e.active.Add(1)
	return nil
}

// View implements store.Engine.
func (e *Engine) View(ctx context.Context, fn func(store.KV) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.active.Done()
	s := e.snapshotAt(e.versions.begin())
	defer s.end()
	return fn(s)
}

// Update implements store.Engine.
func (e *Engine) Update(ctx context.Context, fn func(store.KV) error) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.active.Done()
	r := &request{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case e.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	// Once the writer has it, its outcome is known soon and the caller had better wait for it than guess.
	<-r.done
	if r.pan != nil {
		e.log.ErrorContext(ctx, "a transaction panicked", "stack", string(r.stack))
		panic(r.pan) // In the caller's goroutine, where it came from.
	}
	return r.err
}

// snapshot is a read-only transaction.
type snapshot struct {
	engine  *Engine
	txn     *badger.Txn
	version uint64
}

// snapshotAt is a snapshot for a reader that versions has counted in. It must be ended.
func (e *Engine) snapshotAt(version uint64) snapshot {
	return snapshot{e, e.db.NewTransactionAt(version, false), version}
}

func (s snapshot) end() {
	s.txn.Discard()
	s.engine.versions.end(s.version)
}

func (s snapshot) Get(key []byte) ([]byte, error) {
	if !fits(key) {
		return nil, nil
	}
	if value, found := s.engine.cache.get(key, s.version); found {
		return value, nil
	}
	item, err := s.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		s.engine.cache.read(key, nil, s.version)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value, err := item.ValueCopy(nil) // Not nil, even if it is empty.
	if err == nil {
		s.engine.cache.read(key, value, s.version)
	}
	return value, err
}

func (s snapshot) Set([]byte, []byte) error { return store.ErrReadOnly }

func (s snapshot) Delete([]byte) error { return store.ErrReadOnly }

func (s snapshot) Range(start, end []byte) iter.Seq2[store.Pair, error] {
	return rangeOver(s.txn, nil, start, end)
}
