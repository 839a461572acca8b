package phone

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

const (
	// repairBuckets is into how many parts the API cuts a scope.
	repairBuckets = 256
	// maxMoved is how often the scope may change between a sync and the repair behind it before all of it is loaded.
	maxMoved = 3
)

// bucketOf is the part of the scope that a task lies in.
func bucketOf(task []byte) int { return int(xxhash.Sum64(task) >> 56) }

// mending brings a replica back that is not what the server's digest says, within one Sync.
type mending struct {
	phone  *Phone
	report *Report
	moved  int
	// after is what is left to do once the replica is whole.
	after next
}

// mismatch is called where a complete reading left the replica with another digest: first the parts that differ are
// fetched, and only if that does not help is all of it loaded. nextCall: the sync has to go on.
func (m *mending) mismatch(ctx context.Context) (next, error) {
	if m.report.Resynced {
		return nextNothing, errReplica()
	}
	m.phone.log.WarnContext(ctx, "the replica differs from the server's digest; comparing its parts")
	for range repairBuckets { // At least one part comes with each answer.
		then, err := m.repair(ctx)
		switch kind := fault.KindOf(err); {
		case err != nil && (ctx.Err() != nil || kind == fault.Unavailable || kind == fault.Unauthenticated || kind == fault.Denied):
			return nextNothing, err // The next sync finds the same mismatch.
		case err != nil:
			m.phone.log.WarnContext(ctx, "the server cannot repair", "error", err)
			return nextCall, m.reload()
		case then == repairMoved:
			if m.moved++; m.moved > maxMoved {
				return nextCall, m.reload()
			}
			return nextCall, nil
		case then == repairDone:
			return m.after, nil
		case then == repairUseless:
			m.phone.log.WarnContext(ctx, "the repair did not help; loading all of it")
			return nextCall, m.reload()
		case then == repairContradicted:
			return nextNothing, errReplica()
		}
	}
	return nextNothing, errAnswer("a repair without end")
}

// reload gives the replica up, once a sync: the next answer brings all of it.
func (m *mending) reload() error {
	if m.report.Resynced {
		return errReplica()
	}
	m.report.Resynced = true
	return m.phone.update(func(_ *bolt.Tx, st *state) error {
		st.forget()
		return nil
	})
}

// repaired is how a call of Repair ended.
type repaired int

const (
	// repairMore: more parts differ.
	repairMore repaired = iota
	// repairDone: the replica is whole.
	repairDone
	// repairMoved: the scope has changed since the cursor; nothing was compared.
	repairMoved
	// repairUseless: no part differs any more, and the digest still does.
	repairUseless
	// repairContradicted: no part differed in the first place. What the server holds is not what it says of itself, and
	// loading the same once more would not change that.
	repairContradicted
)

// repair fetches parts that differ and puts them in the place of what is held.
func (m *mending) repair(ctx context.Context) (repaired, error) {
	request, err := m.phone.repairRequest()
	if err != nil {
		return repairMore, err
	}
	var answer *fieldsyncv1.RepairResponse
	err = m.phone.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		client := fieldsyncv1connect.NewSyncServiceClient(m.phone.http, server, clientOptions()...)
		var err error
		answer, err = client.Repair(withBearer(callCtx, bearer), request)
		return callFault(ctx, err)
	})
	if err != nil {
		return repairMore, err
	}
	m.report.Calls++
	if answer.GetMoved() {
		return repairMoved, nil
	}
	if err := checkRepair(answer); err != nil {
		return repairMore, err
	}
	then, err := m.apply(answer)
	if err != nil {
		return then, fmt.Errorf("storing a repair: %w", err)
	}
	var one Report
	for _, part := range answer.GetBuckets() {
		one.Repaired = true
		one.Changed += len(part.GetTasks())
	}
	m.phone.tell(one)
	m.report.add(one)
	if then == repairUseless && !m.report.Repaired {
		then = repairContradicted
	}
	return then, nil
}

// repairRequest says what is held, part by part.
func (p *Phone) repairRequest() (*fieldsyncv1.RepairRequest, error) {
	r := &fieldsyncv1.RepairRequest{Buckets: make([]uint64, repairBuckets), BudgetBytes: p.pages.budget()}
	err := p.view(func(tx *bolt.Tx, st *state) error {
		r.Cursor = st.Cursor
		for d, err := range digests(tx) {
			if err != nil {
				return err
			}
			r.Buckets[bucketOf(d.id)] += d.sum
		}
		return nil
	})
	return r, err
}

// checkRepair refuses what does not concern the part that it is said to be, and what would never end.
func checkRepair(answer *fieldsyncv1.RepairResponse) error {
	if answer.GetHead() == nil || answer.GetMore() && len(answer.GetBuckets()) == 0 {
		return errAnswer("a repair that says nothing")
	}
	for _, part := range answer.GetBuckets() {
		if part.GetIndex() >= repairBuckets {
			return errAnswer(fmt.Sprintf("part %d of a repair", part.GetIndex()))
		}
		for _, task := range part.GetTasks() {
			if uint32(bucketOf([]byte(task.GetId()))) != part.GetIndex() { //nolint:gosec // Below 256.
				return errAnswer(fmt.Sprintf("task %s in part %d of a repair", task.GetId(), part.GetIndex()))
			}
		}
	}
	return nil
}

// apply puts the parts in the place of what is held of them, all or none.
func (m *mending) apply(answer *fieldsyncv1.RepairResponse) (then repaired, err error) {
	var replaced [repairBuckets]bool
	for _, part := range answer.GetBuckets() {
		replaced[part.GetIndex()] = true
	}
	err = m.phone.update(func(tx *bolt.Tx, st *state) error {
		var gone [][]byte
		for d, err := range digests(tx) {
			if err != nil {
				return err
			}
			if replaced[bucketOf(d.id)] {
				gone = append(gone, bytes.Clone(d.id))
			}
		}
		bucket := tx.Bucket(bucketReplica)
		for _, id := range gone {
			if err := bucket.Delete(id); err != nil {
				return err
			}
		}
		for _, part := range answer.GetBuckets() {
			for _, task := range part.GetTasks() {
				if err := putProto(bucket, []byte(task.GetId()), task); err != nil {
					return err
				}
			}
		}
		if then = repairMore; answer.GetMore() {
			return nil
		}
		held, err := digestOf(tx)
		if err != nil {
			return err
		}
		head := headOf(answer.GetHead())
		if then = repairUseless; held != head.digest {
			return nil
		}
		then = repairDone
		st.Head, st.Left = head, &held
		m.after, err = atHead(tx, st)
		return err
	})
	return then, err
}
