package main

import (
	"bytes"
	"io"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Deliberate faults of orders and escalations: see TestMutants.

// stores lets change work on every record that is stored under the prefix.
func stores[T any, M interface {
	*T
	proto.Message
}](prefix string, change func(M)) mutant {
	return mutant{engine: func(e store.Engine) store.Engine {
		return rewriter{e, func(key, value []byte) []byte {
			record := M(new(T))
			if !bytes.HasPrefix(key, []byte(prefix)) || proto.Unmarshal(value, record) != nil {
				return value
			}
			change(record)
			value, _ = proto.Marshal(record)
			return value
		}}
	}}
}

// neverEnds lets no escalation end.
func neverEnds() mutant {
	return stores("task\x00", func(record *storagev1.TaskRecord) {
		if record.GetEscalation() != nil {
			record.Escalation.EndedAt = nil
		}
	})
}

// hasty takes the step that comes next along with each.
func hasty() mutant {
	return stores("task\x00", func(record *storagev1.TaskRecord) {
		steps := record.GetEscalation().GetSteps()
		for i := len(steps) - 1; i > 0; i-- {
			if before := steps[i-1].GetDoneAt(); before != nil && steps[i].GetDoneAt() == nil {
				steps[i].DoneAt = before
			}
		}
	})
}

// hears says of each recall, or of each other order, that its phones have heard of it.
func hears(recall bool) mutant {
	return stores("delivery\x00", func(d *storagev1.Delivery) {
		if d.GetRecall() == recall && d.GetSyncedAt() == nil {
			d.SyncedAt = timestamppb.New(d.GetOrderedAt().AsTime())
		}
	})
}

// unfenced takes from every assignment what its dispatcher knew of.
func unfenced() mutant {
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == fieldsyncv1connect.DispatchServiceAssignTaskProcedure {
				body, _ := io.ReadAll(r.Body)
				body, _ = plain(r.Header, body)
				request := &fieldsyncv1.AssignTaskRequest{}
				_ = proto.Unmarshal(body, request)
				request.ExpectedAssignmentEpoch = nil
				body, _ = proto.Marshal(request)
				r = r.Clone(r.Context())
				r.Header.Del("Content-Encoding")
				r.Header.Set("Content-Length", strconv.Itoa(len(body)))
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			}
			next.ServeHTTP(w, r)
		})
	}}
}
