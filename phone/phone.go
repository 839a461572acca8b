// Package phone is the reference phone: an honest client of the API that never waits for the network and never loses what
// was recorded. The command line, the demo, the load tests and, through gomobile, an app run on it.
//
// A [Phone] keeps four things in one folder: the outbox (what the crew member meant and the server has not judged), the
// replica (the tasks of the scope, the server's truth as of a cursor), the verdicts that were not plain "applied", and the
// photos whose originals the server has not verified. Recording an intent touches only the folder; [Phone.Sync] sends and
// receives in one call; [Phone.Upload] sends the originals; [Phone.Watch] waits for a change, by a stream or a long poll;
// [Phone.Run] does all of it for as long as it is let.
package phone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// Options of a phone. The zero value works.
type Options struct {
	// HTTPClient makes every request. It must not have a Timeout of its own, which would end the watch stream; each call
	// has one already. Default: a client over a transport of the phone's own.
	HTTPClient *http.Client
	// Clock is the wall clock. Default: time.Now.
	Clock func() time.Time
	// Monotonic is the time since boot, sleep included, and BootID names that boot: one goes with the other. Default: the
	// platform's, or none where it has none.
	Monotonic func() time.Duration
	// BootID names the boot that Monotonic counts from.
	BootID string
	// Position gives the newest fix, nil where there is none. Asked at each recording. Default: no fix, ever.
	Position func() *fieldsyncv1.Position
	// Log hears what goes on: ids and codes, never names, texts or tokens. Default: nothing.
	Log *slog.Logger
	// AppVersion is told to the server with each sync, for people: at most 64 characters.
	AppVersion string
	// ChunkBytes is the size of one piece of an upload. Default: 256 KiB.
	ChunkBytes int
	// BudgetBytes is about how many bytes of tasks one answer may carry, uncompressed: at most 4 MiB. Each answer takes
	// effect by itself, so this is what a cut connection costs at the most. Default: 64 KiB, and up to 1 MiB while the link
	// is quick.
	BudgetBytes uint32
	// Changed is told what an answer or a pushed delta has done to the outbox and the replica, once it is durable, so that a screen can follow. It runs on
	// the goroutine of Sync, Watch or Run, and must call none of these. Default: nobody is told.
	Changed func(Report)
	// RetryMin and RetryMax bound the waits between attempts. Default: 1 second and 5 minutes.
	RetryMin, RetryMax time.Duration
	// StreamWait is how long a watch stream may take until its first message, which the server sends at once; after that it is
	// taken for held back, and long polls are used. Default: 10 seconds.
	StreamWait time.Duration
	// Random gives the bytes of photos' ids. Default: crypto/rand. Keys and proofs never come from it.
	Random io.Reader
	// NoSync leaves out every fsync: what is recorded survives the process, but no power cut. For simulations.
	NoSync bool
	// Fail is asked ahead of each transaction ("commit"), each copy of a photo ("copy") and each overwriting of what was erased ("scrub"):
	// an error stands for storage that
	// fails there, and nothing is stored. For simulations. Default: nothing fails.
	Fail func(step string) error
}

// Phone is one device. Its methods may be called from several goroutines. They return a *fault.Error, with a sentence for
// the crew member, wherever the cause is not a bug or the disk.
type Phone struct {
	dir        string
	db         *bolt.DB
	reading    sync.RWMutex // Held by each view, for scrub to wait for those under way. No view is opened within another.
	http       *http.Client
	clock      func() time.Time
	bootID     string
	monotonic  func() time.Duration
	position   func() *fieldsyncv1.Position
	log        *slog.Logger
	appVersion string
	chunk      int
	pages      pages
	changed    func(Report)
	retry      backoff
	patience   patience
	// deaths counts the streams in a row that died young.
	deaths atomic.Int32
	// woken: a push has come since the last sync.
	woken  atomic.Bool
	random io.Reader
	noSync bool
	fail   func(step string) error

	// One sync at a time, one upload at a time, one refresh at a time; each may go on beside the others and beside recording.
	syncing    chan struct{}
	uploading  chan struct{}
	refreshing chan struct{}
	// recorded wakes Run when something was recorded.
	recorded chan struct{}
	// closeIdle ends the connections of the phone's own client; another's are not touched.
	closeIdle func()
	// photoMu keeps the sweep of orphaned copies away from a copy whose record is about to be written.
	photoMu sync.Mutex
}

// databaseFile is the database's name in the phone's folder.
const databaseFile = "phone.db"

// lockWait is how long Open waits for another process to let go of the folder.
const lockWait = 2 * time.Second

// Open opens the phone in dir, which is made where it does not exist. Only one process at a time can: the others get
// Unavailable "phone_in_use"; DataLoss "phone_damaged" where its database cannot be read. Close it.
func Open(dir string, o Options) (*Phone, error) {
	if err := os.MkdirAll(filepath.Join(dir, photosDir), 0o700); err != nil {
		return nil, fmt.Errorf("making the phone's folder: %w", err)
	}
	db, err := openDatabase(dir, o)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fault.New(fault.Unavailable, "phone_in_use",
			fmt.Sprintf("Thư mục %s đang được một tiến trình khác dùng.", dir),
			fmt.Sprintf("Another process is using the folder %s.", dir))
	}
	if err != nil {
		return nil, err
	}
	p := newPhone(dir, db, o)
	if err := p.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return p, nil
}

// openDatabase opens phone.db.
func openDatabase(dir string, o Options) (db *bolt.DB, err error) {
	err = readable(dir, func() (err error) {
		db, err = bolt.Open(filepath.Join(dir, databaseFile), 0o600, &bolt.Options{Timeout: lockWait, NoSync: o.NoSync, NoGrowSync: o.NoSync})
		return err
	})
	var system *fs.PathError // Of what the disk or its rights do not allow.
	switch {
	case err == nil, errors.Is(err, berrors.ErrTimeout):
		return db, err
	case fault.CodeOf(err) != "":
		return nil, err
	case errors.As(err, &system):
		return nil, fmt.Errorf("opening the phone's database: %w", err)
	default:
		return nil, errDatabase(dir, err)
	}
}

func newPhone(dir string, db *bolt.DB, o Options) *Phone {
	p := &Phone{
		dir: dir, db: db,
		http: o.HTTPClient, clock: o.Clock, bootID: o.BootID, monotonic: o.Monotonic, position: o.Position, log: o.Log,
		appVersion: o.AppVersion, chunk: o.ChunkBytes,
		changed: o.Changed, patience: defaultPatience(), retry: backoff{Min: o.RetryMin, Max: o.RetryMax},
		random: o.Random, noSync: o.NoSync, fail: o.Fail,
		syncing: make(chan struct{}, 1), uploading: make(chan struct{}, 1), refreshing: make(chan struct{}, 1),
		recorded: make(chan struct{}, 1),
	}
	p.closeIdle = func() {}
	if p.http == nil {
		p.http = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 30 * time.Second,
			IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 4,
		}}
		p.closeIdle = p.http.CloseIdleConnections
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	if p.monotonic == nil {
		p.bootID, p.monotonic = platformClock()
	}
	if p.position == nil {
		p.position = func() *fieldsyncv1.Position { return nil }
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.random == nil {
		p.random = rand.Reader
	}
	if p.chunk <= 0 {
		p.chunk = 256 << 10
	}
	p.pages.fixed = min(o.BudgetBytes, maxBudget)
	if o.StreamWait > 0 {
		p.patience.first = o.StreamWait
	}
	if p.fail == nil {
		p.fail = func(string) error { return nil }
	}
	if p.changed == nil {
		p.changed = func(Report) {}
	}
	return p
}

// prepare brings a folder into order that may be new, or may have been left by a kill at any point.
func (p *Phone) prepare() error {
	if err := readable(p.dir, func() error { return p.db.Update(initialise) }); err != nil {
		return fmt.Errorf("preparing the phone's database: %w", err)
	}
	if err := p.lapse(); err != nil {
		return err
	}
	p.scrub()
	if err := p.sweepPhotos(); err != nil {
		return err
	}
	return p.syncDir(p.dir)
}

// Close ends the phone. Calls under way should have ended before.
func (p *Phone) Close() error {
	p.closeIdle()
	return p.db.Close()
}

// hold takes a one-place semaphore, and gives up when ctx ends.
func hold(ctx context.Context, place chan struct{}) (release func(), err error) {
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// syncDir makes the names in a folder durable. Windows has no such call and needs none.
func (p *Phone) syncDir(dir string) error {
	if p.noSync || runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
