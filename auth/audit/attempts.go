package audit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// strangersPerSecond and strangersBurst bound how many entries of refused attempts are begun: 12 a minute in the long run, that is some
// 7 MB a day of an attack that never ends and comes from ever new addresses. Attempts of a known one only raise its count.
const strangersPerSecond, strangersBurst = 0.2, 200

// attempts are those of this minute, by what, whose and how they ended. Anybody can make any number of them, so like ones share an
// entry, which is written at once with the first one, before its answer goes out, and once more, with their number, when the minute is
// over. A server that dies in between leaves the entry without the number.
//
// Those that succeed are as many as there are devices, at most; those that are refused stand behind a token bucket.
type attempts struct {
	strangers admission

	mu     sync.Mutex
	minute time.Time
	known  map[attemptKey]*attempt
}

// attemptKey has the address only of those who have not shown who they are: others may change theirs as often as they like.
type attemptKey struct{ act, device, address, outcome string }

type attempt struct {
	heard auth.Attempt

	count atomic.Uint64

	mu    sync.Mutex // While it is written.
	entry *fieldsyncv1.AuditEntry
}

// over returns the attempts of a minute that has ended, which are forgotten.
func (a *attempts) over(now time.Time) []*attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if minute := now.Truncate(time.Minute); !minute.Equal(a.minute) {
		a.minute = minute
		return a.taken()
	}
	return nil
}

// all returns all attempts, which are forgotten.
func (a *attempts) all() []*attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.taken()
}

// taken returns those that came more than once, with their numbers.
func (a *attempts) taken() (more []*attempt) {
	for _, one := range a.known {
		if one.count.Load() > 1 {
			more = append(more, one)
		}
	}
	a.known = make(map[attemptKey]*attempt)
	return more
}

// count returns the attempt if it is the first of its kind in this minute and is to be written down.
func (a *attempts) count(now time.Time, heard auth.Attempt) *attempt {
	key := attemptKey{act: heard.Act, device: heard.Device, outcome: heard.Outcome}
	if !heard.Proven {
		key.address = heard.Address
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.known[key]; one != nil {
		one.count.Add(1)
		return nil
	}
	one := &attempt{heard: heard, entry: &fieldsyncv1.AuditEntry{Act: heard.Act, Address: heard.Address, Outcome: heard.Outcome}}
	if heard.Outcome != "ok" && !a.strangers.admit(now, one.entry) {
		return nil
	}
	one.count.Add(1)
	a.known[key] = one
	return one
}

// Attempt enters a token that was asked for or refused. It stands in the log when it returns, unless too many came at a time.
func (l *Log) Attempt(ctx context.Context, heard auth.Attempt) {
	now := l.store.Now()
	heard.Address = host(heard.Address)
	l.settle(ctx, l.attempts.over(now))
	if first := l.attempts.count(now, heard); first != nil {
		l.settle(ctx, []*attempt{first})
	}
}

// refreshed enters refreshes that were refused, or after which a device is another one: restored or reinstalled, or let in to deliver
// what it still has though it is revoked. All others, four an hour and device, tell only that it was there: the device's record does.
func (l *Log) refreshed(ctx context.Context, req connect.AnyRequest, resp connect.AnyResponse, err error) {
	asked, ok := req.Any().(*fieldsyncv1.RefreshRequest)
	if !ok {
		return
	}
	heard := auth.Attempt{
		Act: nameOf(req.Spec().Procedure), Address: req.Peer().Addr, Device: asked.GetDeviceId(), Proven: err == nil, Outcome: outcomeOf(err),
	}
	if err == nil {
		answer, ok := resp.Any().(*fieldsyncv1.RefreshResponse)
		if !ok || !answer.GetDelivering() && !asked.GetNewInstallEpoch() {
			return
		}
	}
	if fault.CodeOf(err) == "device_unknown" {
		heard.Device = "" // Whatever a stranger says.
	}
	l.Attempt(ctx, heard)
}

// settle writes attempts down as they stand now.
func (l *Log) settle(ctx context.Context, all []*attempt) {
	// As in end.
	ctx = store.WithCompanion(context.WithoutCancel(ctx), func(*store.Tx) error { return nil })
	for _, one := range all {
		if err := l.store.Update(ctx, one.write); err != nil {
			l.log.ErrorContext(ctx, "an attempt did not enter the audit log", "act", one.heard.Act, "device", one.heard.Device, "outcome", one.heard.Outcome, "error", err)
		}
	}
}

func (a *attempt) write(tx *store.Tx) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entry := proto.CloneOf(a.entry)
	if entry.GetId() == "" {
		if entry.Id, err = tx.NewID(); err != nil {
			return err
		}
		entry.At = tx.Timestamp()
		device, err := store.Get(tx, store.DeviceKey(a.heard.Device))
		if err != nil {
			return err
		}
		member, err := store.Get(tx, store.MemberKey(device.GetMemberId()))
		if err != nil {
			return err
		}
		if a.heard.Proven {
			entry.DeviceId, entry.MemberId, entry.Role = device.GetId(), member.GetId(), member.GetRole()
		} else { // Somebody says so: it is about these, and by nobody.
			entry.Subjects = appendSubject(entry.GetSubjects(), "device", device.GetId())
			entry.Subjects = appendSubject(entry.GetSubjects(), "member", member.GetId())
		}
	}
	if n := a.count.Load(); n > 1 {
		entry.Count = n
	}
	if err := put(tx, entry); err != nil {
		return err
	}
	a.entry = entry
	return nil
}
