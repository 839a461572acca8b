package sync

import (
	"context"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// repairBuckets is into how many parts a scope is cut for comparison. A bucket of a scope of 1,000 tasks holds four.
const repairBuckets = 256

// bucketOf tells in which part of its scope a task lies.
func bucketOf(task string) int { return int(xxhash.Sum64String(task) >> 56) }

// Repair implements the RPC of that name. It reads the log of the whole scope: it is for replicas that are wrong, which none
// should ever be.
func (e *Engine) Repair(ctx context.Context, req *fieldsyncv1.RepairRequest) (*fieldsyncv1.RepairResponse, error) {
	scope, err := callerScope(ctx)
	if err != nil {
		return nil, err
	}
	from, err := decodeCursor(req.GetCursor())
	if err != nil {
		return nil, err
	}
	if len(req.GetBuckets()) != repairBuckets {
		return nil, fault.New(fault.Invalid, "request_invalid",
			"Cần đúng 256 tổng kiểm, mỗi phần một tổng.", "Exactly 256 sums are needed, one for each bucket.")
	}
	budget := int(req.GetBudgetBytes())
	if budget == 0 {
		budget = defaultBudget
	}
	resp := &fieldsyncv1.RepairResponse{}
	err = e.store.View(ctx, func(tx *store.Tx) error {
		head, err := store.Head(tx, scope)
		if err != nil {
			return err
		}
		resp.Head = publicHead(head)
		at := cursor{serverEpoch: e.store.ServerEpoch(), scope: fingerprint(scope), scopeEpoch: head.GetEpoch(), sequence: head.GetSequence()}
		if from != at {
			resp.Moved = true
			return nil
		}
		var digests [repairBuckets]uint64
		var tasks [repairBuckets][]string
		for entry, err := range store.ScanLog(tx, scope, 0) {
			if err != nil {
				return err
			}
			if !entry.GetRemoved() {
				i := bucketOf(entry.GetTaskId())
				digests[i] += store.TaskDigest(entry.GetTaskId(), entry.GetRevision())
				tasks[i] = append(tasks[i], entry.GetTaskId())
			}
		}
		used := 0
		for i, digest := range digests {
			if digest == req.GetBuckets()[i] {
				continue
			}
			if used >= budget {
				resp.More = true
				return nil
			}
			bucket := &fieldsyncv1.RepairResponse_Bucket{Index: uint32(i)}
			for _, id := range tasks[i] {
				record, err := store.Get(tx, store.TaskKey(id))
				if err != nil {
					return err
				}
				if record == nil {
					return fmt.Errorf("the log names the task %s, which is not stored", id)
				}
				bucket.Tasks = append(bucket.Tasks, record.GetTask())
			}
			resp.Buckets = append(resp.Buckets, bucket)
			used += proto.Size(bucket)
		}
		return nil
	})
	return resp, err
}
