package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cong1022/fieldsync/backup"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// keeper sees to it that what was acknowledged is kept: it ships the backup and checks what is there. It also tells operators
// of that (operations.go).
type keeper struct {
	config  Config
	engine  *embedded.Engine
	store   *store.Store
	blobs   media.Blobs
	shipper *backup.Shipper // Nil where there is no backup.
	log     *slog.Logger

	stopped     chan struct{} // Closed when the server stops.
	checking    sync.Mutex    // One check at a time.
	mu          sync.Mutex
	quick, full *Checked
}

func newKeeper(ctx context.Context, config Config, engine *embedded.Engine, st *store.Store, blobs media.Blobs, log *slog.Logger) (*keeper, error) {
	k := &keeper{config: config, engine: engine, store: st, blobs: blobs, log: log, stopped: make(chan struct{})}
	var err error
	if k.full, err = loadCheck(config.Data); err != nil {
		log.WarnContext(ctx, "what the last check had found is not known", "error", err)
	}
	if k.full != nil && len(k.full.Findings) > 0 {
		log.ErrorContext(ctx, "the last check had findings: not ready until a check has none", "findings", len(k.full.Findings), "at", k.full.At)
	}
	if config.Backup.Repository == "" {
		log.InfoContext(ctx, "no backup is configured (backup.repository): what this disk loses is lost")
		return k, nil
	}
	// A target that does not answer is no reason not to start: it is tried again and again.
	target := &lateTarget{open: config.Backup.Open}
	recipients, err := config.Backup.Readers()
	if err != nil {
		return nil, fmt.Errorf("backup.recipients: %w", err)
	}
	o := backup.Options{
		Engine: engine, Target: target, Recipients: recipients, Every: config.Backup.Every, Keep: config.Backup.Keep(), Log: log,
	}
	if config.Media.Store == "folder" { // Else they lie in an object store already.
		o.Photo = OpenPhoto(blobs)
	}
	k.shipper = backup.New(o)
	return k, nil
}

// OpenPhoto opens what a backup is to hold of the blobs.
func OpenPhoto(blobs media.Blobs) func(context.Context, [sha256.Size]byte) (io.ReadCloser, error) {
	return func(ctx context.Context, sum [sha256.Size]byte) (io.ReadCloser, error) {
		content, _, err := blobs.Open(ctx, sum)
		return content, err
	}
}

// workers run until the server stops.
func (k *keeper) workers() []func(context.Context) error {
	workers := []func(context.Context) error{k.runChecks}
	if k.shipper != nil {
		workers = append(workers, k.shipper.Run)
	}
	return workers
}

// reach is what phones hear. Without a backup there is nothing to wait for.
func (k *keeper) reach() *fieldsyncv1.BackupReach {
	backedUp := uint64(0)
	if k.shipper != nil {
		backedUp = k.shipper.Reached().Sequence
	}
	position := k.engine.Journal().Last()
	if k.shipper == nil {
		backedUp = position
	}
	return &fieldsyncv1.BackupReach{History: k.store.ServerEpoch(), Position: position, BackedUp: backedUp}
}

// besideWork keeps the checks that nobody waits for to a tenth of a processor: after a start all phones come back at once.
const besideWork = 9

// runChecks checks the records beside the start, and everything each night.
func (k *keeper) runChecks(ctx context.Context) error {
	context.AfterFunc(ctx, func() { close(k.stopped) })
	if k.config.Check.AtStart {
		_, _ = k.check(ctx, CheckOptions{Quick: true, Rest: besideWork}) // What came of it is noted and logged.
	}
	for {
		due, err := k.config.Check.next(time.Now())
		if err != nil || due.IsZero() {
			return err // The configuration was checked: there is none.
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(due)):
			_, _ = k.check(ctx, CheckOptions{Rest: besideWork})
		}
	}
}

// errChecking: another check is under way.
var errChecking = errors.New("a check is under way")

// check checks, notes what it finds, and says it in the log.
func (k *keeper) check(ctx context.Context, o CheckOptions) (Checked, error) {
	if !k.checking.TryLock() {
		return Checked{}, errChecking
	}
	defer k.checking.Unlock()
	c, err := CheckData(ctx, k.engine, k.store, k.blobs, o)
	if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		return c, errors.Join(ctx.Err(), err) // The server stops: that says nothing of the data.
	}
	if err != nil {
		c.At = time.Now()
		c.Findings = append(c.Findings, "the check could not go on: "+err.Error())
	}
	for _, f := range c.Findings {
		k.log.ErrorContext(ctx, "check", "finding", f)
	}
	k.log.InfoContext(ctx, "checked", "quick", o.Quick, "findings", len(c.Findings), "took", c.Took)
	k.mu.Lock()
	defer k.mu.Unlock()
	if o.Quick {
		k.quick = &c
		return c, nil
	}
	k.full, k.quick = &c, nil // It holds what the quick one would.
	return c, SaveCheck(k.config.Data, c)
}

// unready says why the server is not ready: nothing where it is.
func (k *keeper) unready() (reasons []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range []*Checked{k.quick, k.full} {
		if c != nil && len(c.Findings) > 0 {
			reasons = append(reasons, fmt.Sprintf("check of %s: %d findings", c.At.UTC().Format(time.RFC3339), len(c.Findings)))
		}
	}
	if k.shipper == nil {
		return reasons
	}
	// It does not mend by itself: another server writes into the repository, or this one's data is not what it was.
	if failed := k.shipper.State().Failed; fault.KindOf(failed) == fault.Precondition {
		reasons = append(reasons, "backup: "+fault.CodeOf(failed))
	}
	return reasons
}

// lateTarget opens a target when it is first needed, and again until that succeeds.
type lateTarget struct {
	open func(context.Context) (backup.Target, error)

	mu     sync.Mutex
	opened backup.Target
}

func (l *lateTarget) target(ctx context.Context) (backup.Target, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened == nil {
		opened, err := l.open(ctx)
		if err != nil {
			return nil, err
		}
		l.opened = opened
	}
	return l.opened, nil
}

// Put implements backup.Target.
func (l *lateTarget) Put(ctx context.Context, name string, content *os.File) error {
	target, err := l.target(ctx)
	if err != nil {
		return err
	}
	return target.Put(ctx, name, content)
}

// Open implements backup.Target.
func (l *lateTarget) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	target, err := l.target(ctx)
	if err != nil {
		return nil, err
	}
	return target.Open(ctx, name)
}

// List implements backup.Target.
func (l *lateTarget) List(ctx context.Context, prefix string) ([]string, error) {
	target, err := l.target(ctx)
	if err != nil {
		return nil, err
	}
	return target.List(ctx, prefix)
}

// Remove implements backup.Target.
func (l *lateTarget) Remove(ctx context.Context, names []string) error {
	target, err := l.target(ctx)
	if err != nil {
		return err
	}
	return target.Remove(ctx, names)
}
