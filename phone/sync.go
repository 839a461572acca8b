package phone

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

const (
	// maxBatch is how many mutations the API takes in one call.
	maxBatch = 200
	// maxBudget is the largest byte budget that the API takes.
	maxBudget = 4 << 20
	// maxVerdicts is how many verdicts other than "applied" are kept, the newest.
	maxVerdicts = 1000
)

// Report says what a sync did. It is right for as far as the sync came, also where it ended with an error.
type Report struct {
	// Calls is the number of calls that were answered.
	Calls int
	// Sent is the number of mutations that got their verdict, and Verdicts holds these in the order of recording.
	Sent     int
	Verdicts []Judged
	// Changed and Removed count the tasks that changed in the replica and those that left it.
	Changed, Removed int
	// Remaining is how many tasks were left waiting on the server.
	Remaining uint64
	// Reset: the replica was replaced, because the server did not know the cursor or this was the first sync.
	Reset bool
	// Renumbered: server and phone did not agree on numbers (one of them was restored), and the outbox went out under a new
	// install epoch.
	Renumbered bool
	// Repaired: the replica differed from the server's digest, and the parts that differed were fetched.
	Repaired bool
	// Offered is how many mutations went out again that had been acknowledged, since the server was restored from a backup that
	// does not have them.
	Offered int
	// Resynced: that did not help, or the server could not read the cursor, and all of it was loaded again.
	Resynced bool
}

// add counts what one more answer or pushed delta has done.
func (r *Report) add(one Report) {
	r.Sent += one.Sent
	r.Verdicts = append(r.Verdicts, one.Verdicts...)
	r.Changed += one.Changed
	r.Removed += one.Removed
	r.Remaining = one.Remaining
	r.Reset = r.Reset || one.Reset
	r.Offered += one.Offered
	r.Repaired = r.Repaired || one.Repaired
}

// Judged is a mutation with its verdict.
type Judged struct {
	InstallEpoch uint32
	Mutation     *fieldsyncv1.Mutation
	Verdict      *fieldsyncv1.Verdict
}

// Sync sends the outbox and receives what has changed, in as many calls as it takes: one, but for more than 200 mutations or
// a large delta. Each answer takes effect in one durable transaction, so a kill or a lost answer at any point costs nothing
// but a repeat, which the server knows by the numbers.
//
// It mends by itself, once a sync: a server that was restored from a backup is offered again what it had acknowledged since, as far
// as this phone keeps it (BackupReach in the API); one that has fallen further behind this phone's numbers ("mutation_gap",
// "install_epoch_unknown"), or that has seen these numbers with other content
// ("install_epoch_conflicted" and the verdict "number_reused": the phone was, or it was copied), gets the outbox under a new install epoch; of a replica that
// does not have the server's digest the parts that differ are fetched, and only if that does not help all of it. Errors:
// Unauthenticated "not_enrolled" and the API's, "device_revoked" among them, when the replica is erased and the outbox has been
// delivered into quarantine; Unavailable "server_unreachable" and the API's; DataLoss "replica_mismatch".
func (p *Phone) Sync(ctx context.Context) (Report, error) {
	var report Report
	release, err := hold(ctx, p.syncing)
	if err != nil {
		return report, err
	}
	defer release()
	if err := p.lapse(); err != nil {
		return report, err
	}
	if revoked, err := p.stillRevoked(ctx); err != nil {
		return report, err
	} else if revoked {
		return report, p.deliver(ctx, &report)
	}
	mend := mending{phone: p, report: &report}
	offeredAgain := false
	for {
		answer, request, err := p.exchange(ctx)
		code := fault.CodeOf(err)
		// Once: what is judged then is kept anew, and would be offered for as long as the server does not know a later install epoch.
		if fallenBehind[code] && !offeredAgain {
			offeredAgain = true
			offered, kerr := p.offerKept()
			if kerr != nil {
				return report, kerr
			}
			if report.Offered += offered; offered > 0 {
				continue
			}
		}
		switch {
		case renumbers[code] && !report.Renumbered:
			report.Renumbered = true
			if err = p.newEpoch(ctx); err == nil {
				continue
			}
		case code == "cursor_invalid" && !report.Resynced:
			if err = mend.reload(); err == nil {
				continue
			}
		case code == "device_revoked":
			err = p.deliver(ctx, &report)
		case code == "server_unreachable":
			err = errors.Join(err, p.offline())
		}
		if err != nil {
			return report, err
		}
		then, err := p.apply(request, answer, &report)
		if err != nil {
			return report, err
		}
		report.Calls++
		if request.GetWokenByPush() {
			p.woken.Store(false)
		}
		if then == nextMismatch {
			then, err = mend.mismatch(ctx)
		}
		if err != nil || then == nextNothing {
			return report, err
		}
	}
}

// renumbers are the errors after which what waits goes out under a new install epoch: the server has judged none of it.
var renumbers = map[string]bool{"mutation_gap": true, "install_epoch_unknown": true, "install_epoch_conflicted": true}

func (p *Phone) newEpoch(ctx context.Context) error {
	release, err := hold(ctx, p.refreshing)
	if err != nil {
		return err
	}
	defer release()
	_, err = p.refresh(ctx, true)
	return err
}

// exchange makes one call. Nothing is stored.
func (p *Phone) exchange(ctx context.Context) (answer *fieldsyncv1.SyncResponse, request *fieldsyncv1.SyncRequest, err error) {
	if request, err = p.request(); err != nil {
		return nil, nil, err
	}
	begun := p.monotonic()
	err = p.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		client := fieldsyncv1connect.NewSyncServiceClient(p.http, server, clientOptions()...)
		var err error
		answer, err = client.Sync(withBearer(callCtx, bearer), request)
		return callFault(ctx, err)
	})
	if err == nil {
		p.pages.came(p.monotonic()-begun, answer.GetMore())
	} else {
		p.pages.lost()
	}
	return answer, request, err
}

// request says how far the replica has come and takes the oldest of the outbox with it. A batch is of one install epoch.
func (p *Phone) request() (*fieldsyncv1.SyncRequest, error) {
	r := &fieldsyncv1.SyncRequest{
		AppVersion: p.appVersion, BudgetBytes: p.pages.budget(), Queue: new(fieldsyncv1.QueueReport), WokenByPush: p.woken.Load(),
	}
	err := p.view(func(tx *bolt.Tx, st *state) error {
		if st.Forked {
			return errForked()
		}
		r.Cursor, r.Clock, r.InstallEpoch = st.Cursor, p.captureTime(st), st.InstallEpoch
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			if r.GetQueue().GetMutations() == 0 {
				r.InstallEpoch, r.Queue.Oldest = q.epoch, q.mutation.GetRecorded().GetWall()
			}
			r.Queue.Mutations++
			if q.epoch == r.GetInstallEpoch() && len(r.GetMutations()) < maxBatch {
				r.Mutations = append(r.Mutations, q.mutation)
			}
		}
		for ph, err := range photos(tx) {
			if err != nil {
				return err
			}
			if ph.State == photoQueued || ph.State == photoAttached {
				r.Queue.Photos++
			}
		}
		return nil
	})
	return r, err
}

// next is what is to be done after an answer was applied.
type next int

const (
	nextNothing next = iota
	// nextCall: more waits on either side.
	nextCall
	// nextMismatch: the replica is not what the server says it should be.
	nextMismatch
)

// apply makes an answer take effect, all of it or nothing: the verdicts leave the outbox in the same transaction in which the
// delta and the cursor enter the replica. A crash before it is a lost answer; after it there is nothing to repeat. For
// whoever holds syncing.
func (p *Phone) apply(request *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse, report *Report) (next, error) {
	if err := checkAnswer(request, answer); err != nil {
		return nextNothing, err
	}
	then, offered := nextNothing, 0
	// Without a cursor the server sends the whole scope, so what is held from before must not stay.
	reset := answer.GetReset_() || len(request.GetCursor()) == 0
	err := p.update(func(tx *bolt.Tx, st *state) error {
		var err error
		if offered, err = p.hearReach(tx, st, answer.GetReach()); err != nil {
			return err
		}
		if err := p.settle(tx, st, request, answer); err != nil {
			return err
		}
		sound, err := applyDelta(tx, st, answer, reset)
		if err != nil {
			return err
		}
		st.Cursor, st.Remaining = answer.GetCursor(), answer.GetRemaining()
		st.SyncedAt = p.clock()
		if t := answer.GetServerTime(); t != nil {
			p.hear(st, t.AsTime())
		}
		if until := answer.GetPersonalUntil(); until.IsValid() {
			st.Lease.renew(until.AsTime(), p.serverNow(st))
		}
		held, err := digestOf(tx)
		if err != nil {
			return err
		}
		switch head := headOf(answer.GetHead()); {
		case answer.GetMore():
			st.Head, st.Left = nil, nil
			if sound {
				st.Left = &held
			}
			then = nextCall
			return nil
		case held != head.digest:
			st.Head, st.Left = nil, nil
			then = nextMismatch
			return nil
		default:
			st.Head, st.Left = head, &held
			then, err = atHead(tx, st)
			return err
		}
	})
	if err != nil {
		return nextNothing, fmt.Errorf("storing the answer of a sync: %w", err)
	}
	one := Report{
		Sent: len(answer.GetVerdicts()), Changed: len(answer.GetTasks()), Removed: len(answer.GetRemovals()),
		Remaining: answer.GetRemaining(), Reset: reset, Offered: offered,
	}
	for i, v := range answer.GetVerdicts() {
		one.Verdicts = append(one.Verdicts, Judged{request.GetInstallEpoch(), request.GetMutations()[i], v})
	}
	p.tell(one)
	report.add(one)
	return then, nil
}

// atHead tells what is left to do for a replica that is whole: photos may have been released by a dispatcher, what was
// recorded may be waiting, and the numbers may have to be others.
func atHead(tx *bolt.Tx, st *state) (next, error) {
	released, err := releasePhotos(tx)
	if first, _ := tx.Bucket(bucketOutbox).Cursor().First(); first != nil || released || st.Forked {
		return nextCall, err
	}
	return nextNothing, err
}

// tell tells Options.Changed what has been done, if anything was.
func (p *Phone) tell(one Report) {
	if one.Sent+one.Changed+one.Removed > 0 || one.Reset || one.Repaired {
		p.changed(one)
	}
}

// checkAnswer refuses what would lose a mutation or never end.
func checkAnswer(request *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) error {
	if err := checkVerdicts(request, answer); err != nil {
		return err
	}
	switch {
	case len(answer.GetCursor()) == 0:
		return errAnswer("no cursor")
	case answer.GetMore() && bytes.Equal(answer.GetCursor(), request.GetCursor()):
		return errAnswer("more, but the cursor stays")
	case !answer.GetMore() && answer.GetHead() == nil:
		return errAnswer("no head")
	}
	return nil
}

func checkVerdicts(request *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) error {
	sent, judged := request.GetMutations(), answer.GetVerdicts()
	// Fewer verdicts are good where numbers conflict: the next call is then told so. None at all would go on for ever.
	if len(judged) > len(sent) || len(judged) == 0 && len(sent) > 0 {
		return errAnswer(fmt.Sprintf("%d mutations, %d verdicts", len(sent), len(judged)))
	}
	for i, v := range judged {
		m := sent[i]
		if v.GetNumber() != m.GetNumber() || v.GetKind() == fieldsyncv1.VerdictKind_VERDICT_KIND_UNSPECIFIED {
			return errAnswer(fmt.Sprintf("no verdict for mutation %d", m.GetNumber()))
		}
	}
	return nil
}

// settle takes judged mutations out of the outbox, keeps the verdicts that somebody may want to read, and lets the photos go
// on that were attached. What the server's backup does not have yet is kept beside.
func (p *Phone) settle(tx *bolt.Tx, st *state, request *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) error {
	for i, v := range answer.GetVerdicts() {
		m := request.GetMutations()[i]
		if err := tx.Bucket(bucketOutbox).Delete(outboxKey(request.GetInstallEpoch(), m.GetNumber())); err != nil {
			return err
		}
		if id := m.GetAttachPhoto().GetPhoto().GetPhotoId(); id != "" {
			to := photoAttached
			switch v.GetKind() {
			case fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED:
				to = photoRefused
			case fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED:
				to = photoQuarantined
			default:
			}
			if err := setPhoto(tx, id, to); err != nil {
				return err
			}
		}
		if err := owe(tx, m, v); err != nil {
			return err
		}
		if err := p.keepBeyond(tx, request.GetInstallEpoch(), m, answer.GetReach()); err != nil {
			return err
		}
		st.Forked = st.Forked || v.GetCode() == "number_reused"
		if v.GetKind() != fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED {
			if err := keepVerdict(tx, request.GetInstallEpoch(), m, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func keepVerdict(tx *bolt.Tx, epoch uint32, m *fieldsyncv1.Mutation, v *fieldsyncv1.Verdict) error {
	record := judged{InstallEpoch: epoch}
	var merr, verr error
	record.Mutation, merr = proto.Marshal(m)
	record.Verdict, verr = proto.Marshal(v)
	if err := errors.Join(merr, verr); err != nil {
		return err
	}
	bucket := tx.Bucket(bucketVerdicts)
	place, err := bucket.NextSequence()
	if err != nil {
		return err
	}
	if place > maxVerdicts {
		if err := bucket.Delete(verdictKey(place - maxVerdicts)); err != nil {
			return err
		}
	}
	return putJSON(bucket, verdictKey(place), &record)
}

func headOf(h *fieldsyncv1.ScopeHead) *head {
	return &head{Sequence: h.GetSequence(), digest: digest{Tasks: h.GetTasks(), Sum: h.GetDigest()}}
}
