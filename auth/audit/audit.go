// Package audit writes down who did what to whom, when and from where. An act that changes the store enters the log in the very
// transaction that changes it (store.WithCompanion): there is no act without its entry, and no entry of an act that was not kept, whenever
// the server dies. What was refused, and readings that are acts of their own, have a transaction of their own behind the answer's
// making. Entries are added and never changed by whoever acts; they go when they are older than is to be kept.
package audit

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// maxSubjects bounds the subjects of an entry: a call that is about more is found under the first ones.
	maxSubjects = 128
	// refusedPerSecond and refusedBurst bound how many refused acts are written down, so that a flood of them fills no disk.
	refusedPerSecond, refusedBurst = 2, 200
	// maxPath bounds, in bytes, what an entry keeps of a route's path: strangers choose it.
	maxPath = 200
)

// Log is the audit log over a store. Its methods are safe for concurrent use.
type Log struct {
	store *store.Store
	log   *slog.Logger
	keep  time.Duration

	refused  admission
	attempts attempts
}

// Options are what a Log needs.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Keep is for how long entries are kept. 0: for ever.
	Keep time.Duration
}

// New makes a Log.
func New(o Options) *Log {
	return &Log{
		store: o.Store, log: o.Log, keep: o.Keep,
		refused:  admission{Limiter: rate.NewLimiter(refusedPerSecond, refusedBurst)},
		attempts: attempts{strangers: admission{Limiter: rate.NewLimiter(strangersPerSecond, strangersBurst)}},
	}
}

// act is one that is under way.
type act struct {
	log *Log

	mu      sync.Mutex
	entry   *fieldsyncv1.AuditEntry
	written bool
}

type actKey struct{}

// begin returns a context whose transactions enter the act into the log.
func (l *Log) begin(ctx context.Context, what, address string, about []*fieldsyncv1.AuditSubject) (context.Context, *act) {
	a := &act{log: l, entry: &fieldsyncv1.AuditEntry{Act: what, Address: host(address), Outcome: "ok", Subjects: about}}
	if p, err := auth.PrincipalFrom(ctx); err == nil {
		a.by(p)
	}
	ctx = auth.WithCaller(context.WithValue(ctx, actKey{}, a), func(p auth.Principal) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.by(p)
	})
	return store.WithCompanion(ctx, a.write), a
}

// About names somebody or something that the act under way is about, where its request does not. Nothing, where the context carries no
// act.
func About(ctx context.Context, kind, id string) {
	if a, ok := ctx.Value(actKey{}).(*act); ok {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.about(kind, id)
	}
}

func (a *act) by(p auth.Principal) {
	a.entry.MemberId, a.entry.DeviceId, a.entry.Role = p.MemberID, p.DeviceID, p.Role
}

func (a *act) about(kind, id string) {
	a.entry.Subjects = appendSubject(a.entry.GetSubjects(), kind, id)
}

// write enters the act into the log. All transactions of one act write one entry.
func (a *act) write(tx *store.Tx) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.entry.GetId() == "" {
		if a.entry.Id, err = tx.NewID(); err != nil {
			return err
		}
		a.entry.At = tx.Timestamp()
	}
	if a.entry.Subjects, err = withTickets(tx, a.entry.GetSubjects()); err != nil {
		return err
	}
	a.written = true // Or the transaction fails, and then end writes how it was refused.
	return put(tx, a.entry)
}

func put(tx *store.Tx, entry *fieldsyncv1.AuditEntry) error {
	at, id := entry.GetAt().AsTime(), entry.GetId()
	place := &storagev1.AuditRecord{Entry: &fieldsyncv1.AuditEntry{Id: id, At: entry.GetAt()}}
	for _, key := range places(entry) {
		if err := store.Put(tx, store.AuditSubjectKey(key.GetKind(), key.GetId(), at, id), place); err != nil {
			return err
		}
	}
	return store.Put(tx, store.AuditKey(at, id), &storagev1.AuditRecord{Entry: proto.CloneOf(entry)})
}

// places are under what an entry is found: whoever acted counts as well as whatever it was about.
func places(entry *fieldsyncv1.AuditEntry) []*fieldsyncv1.AuditSubject {
	all := slices.Clone(entry.GetSubjects())
	all = appendSubject(all, "member", entry.GetMemberId())
	return appendSubject(all, "device", entry.GetDeviceId())
}

// end takes down how the act came out, where no transaction has or where it was refused after all.
func (a *act) end(ctx context.Context, outcome string) {
	a.mu.Lock()
	entry := proto.CloneOf(a.entry)
	written := a.written
	a.mu.Unlock()
	if written && outcome == "ok" {
		return
	}
	if entry.Outcome = outcome; outcome != "ok" && !written && !a.log.refused.admit(a.log.store.Now(), entry) {
		return
	}
	// It must not be lost because the caller has left, and it is no act of its own.
	ctx = store.WithCompanion(context.WithoutCancel(ctx), func(*store.Tx) error { return nil })
	err := a.log.store.Update(ctx, func(tx *store.Tx) (err error) {
		if entry.GetId() == "" {
			if entry.Id, err = tx.NewID(); err != nil {
				return err
			}
			entry.At = tx.Timestamp()
		}
		if entry.Subjects, err = withTickets(tx, entry.GetSubjects()); err != nil {
			return err
		}
		return put(tx, entry)
	})
	if err != nil {
		a.log.log.ErrorContext(ctx, "an act did not enter the audit log", "act", entry.GetAct(), "member", entry.GetMemberId(),
			"device", entry.GetDeviceId(), "outcome", outcome, "error", err)
	}
}

// admission bounds how many entries of what was refused are written, and counts those that are not.
type admission struct {
	*rate.Limiter

	mu      sync.Mutex
	leftOut uint64
}

// admit tells whether one more is written down, and puts into it how many before it were not.
func (a *admission) admit(now time.Time, entry *fieldsyncv1.AuditEntry) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.AllowN(now, 1) {
		a.leftOut++
		return false
	}
	entry.LeftOut, a.leftOut = a.leftOut, 0
	return true
}

// outcomeOf is how an error stands in an entry.
func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	if code := fault.CodeOf(err); code != "" {
		return code
	}
	return "internal"
}

func host(address string) string {
	if name, _, err := net.SplitHostPort(address); err == nil {
		return name
	}
	return address
}
