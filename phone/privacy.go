package phone

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

// lease is for how long this phone may keep citizens' names and phone numbers, in the server's time.
type lease struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Newest is the latest time that this phone has believed in since it last heard the server's: a wall clock that is set back
	// does not lengthen a lease.
	Newest time.Time `json:"newest,omitzero"`
}

// renew takes the lease that an answer brings. One without ends none that there was: the server is older.
func (l *lease) renew(until, now time.Time) {
	if !until.IsZero() {
		*l = lease{From: now, Until: until, Newest: now}
	}
}

// leaseNow is the time by which leases are judged: the latest of what the wall clock, the clock since boot and memory say.
func (p *Phone) leaseNow(st *state) time.Time {
	now := p.serverNow(st)
	if st.Heard.BootID != "" && st.Heard.BootID == p.bootID && p.sinceBootMS() >= st.Heard.SinceBootMS {
		running := time.Duration(p.sinceBootMS()-st.Heard.SinceBootMS) * time.Millisecond //nolint:gosec // Since boot.
		if byBoot := st.Heard.ServerTime.Add(running); byBoot.After(now) {
			now = byBoot
		}
	}
	if st.Lease.Newest.After(now) {
		now = st.Lease.Newest
	}
	return now
}

// leaseDue tells whether half of the lease is over: a phone that only watches syncs then, to renew it.
func (p *Phone) leaseDue(st *state) bool {
	l := st.Lease
	return !l.Until.IsZero() && p.leaseNow(st).After(l.From.Add(l.Until.Sub(l.From)/2))
}

// lapse erases citizens' names and phone numbers if the lease on them is over. The next sync brings them again, with the whole
// scope: nothing in a revision tells that they are missing.
func (p *Phone) lapse() error {
	lapsed := false
	if err := p.view(func(_ *bolt.Tx, st *state) error {
		lapsed = !st.Lease.Until.IsZero() && p.leaseNow(st).After(st.Lease.Until)
		return nil
	}); err != nil || !lapsed {
		return err
	}
	if err := p.update(func(tx *bolt.Tx, st *state) error {
		p.log.Info("the lease on personal data is over", "until", st.Lease.Until)
		st.Lease, st.Scrub = lease{}, true
		st.forget()
		return eraseReporters(tx)
	}); err != nil {
		return err
	}
	p.scrub()
	return nil
}

// eraseReporters takes the citizens out of the tasks held.
func eraseReporters(tx *bolt.Tx) error {
	var named []*fieldsyncv1.Task
	for task, err := range replica(tx) {
		if err != nil {
			return err
		}
		if task.GetTicket().GetReporter() != nil {
			task.Ticket.Reporter = nil
			named = append(named, task)
		}
	}
	for _, task := range named {
		if err := putProto(tx.Bucket(bucketReplica), []byte(task.GetId()), task); err != nil {
			return err
		}
	}
	return nil
}

// wipe does what a revoked phone is told to: it erases all that it holds of tasks and citizens. What was recorded here and the
// photos stay until they are delivered.
func (p *Phone) wipe(ctx context.Context) error {
	if err := p.update(func(tx *bolt.Tx, st *state) error {
		if st.Revoked {
			return nil
		}
		p.log.WarnContext(ctx, "this device is revoked: its replica is erased", "device_id", st.DeviceID)
		st.Revoked, st.Scrub, st.Token, st.Lease = true, true, "", lease{}
		st.forget()
		return empty(tx, bucketReplica)
	}); err != nil {
		return err
	}
	p.scrub()
	return nil
}

// deliver sends what a revoked phone still has, into quarantine. It returns the reason why nothing else is done once nothing is
// left, or what kept it from that.
func (p *Phone) deliver(ctx context.Context, report *Report) error {
	for {
		request, err := p.request()
		if err != nil {
			return err
		}
		if len(request.GetMutations()) == 0 {
			if err := p.Upload(ctx, nil); err != nil {
				return err
			}
			return errRevoked()
		}
		request.Cursor = nil
		var answer *fieldsyncv1.SyncResponse
		err = p.authorised(ctx, func(ctx context.Context, server, bearer string) error {
			callCtx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			client := fieldsyncv1connect.NewSyncServiceClient(p.http, server, clientOptions()...)
			var err error
			answer, err = client.Sync(withBearer(callCtx, bearer), request)
			return callFault(ctx, err)
		})
		if renumbers[fault.CodeOf(err)] && !report.Renumbered {
			report.Renumbered = true
			if err = p.newEpoch(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if err := checkVerdicts(request, answer); err != nil {
			return err
		}
		if err := p.update(func(tx *bolt.Tx, st *state) error {
			return p.settle(tx, st, request, answer)
		}); err != nil {
			return err
		}
		one := Report{Sent: len(answer.GetVerdicts())}
		for i, v := range answer.GetVerdicts() {
			one.Verdicts = append(one.Verdicts, Judged{request.GetInstallEpoch(), request.GetMutations()[i], v})
		}
		p.tell(one)
		report.add(one)
		report.Calls++
	}
}

// stillRevoked asks the server again, if this phone was told before that it is revoked.
func (p *Phone) stillRevoked(ctx context.Context) (revoked bool, err error) {
	read := func() error {
		return p.view(func(_ *bolt.Tx, st *state) error { revoked = st.Revoked; return nil })
	}
	if err := read(); err != nil || !revoked {
		return false, err
	}
	if _, _, err := p.token(ctx, ""); err != nil {
		return true, err
	}
	err = read()
	return revoked, err
}
