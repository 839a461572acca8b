package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Protects apps that speak JSON: what a newer one means, or an odd one says, is judged mutation by mutation, and lies in
// quarantine with every word of it, as it would in protobuf. Nothing is dropped, and nothing holds up the rest.
func TestUnknownJSONIsKept(t *testing.T) {
	r := settled(t, testConfig(t))
	task, token := r.assigned(t), r.token(t, "an")
	const weather = `{"number":"2","taskId":"TASK","measureWater":{"depthCm":41,"where":"ngã tư"},"newField":true}`
	body := strings.ReplaceAll(`{
		"installEpoch": 1, "somethingNew": {"a": [1, 2]},
		"mutations": [
			{"number": 1, "taskId": "TASK", "addNote": {"text": "một"}},
			`+weather+`,
			{"number": "3", "taskId": "TASK", "complete": {"outcome": "OUTCOME_FIXED_BY_MAGIC", "note": "xong"}},
			{"number": "4", "taskId": "TASK", "addNote": {"text": 17}},
			{"number": "5", "taskId": "TASK", "addNote": {"text": "năm", "mood": "vui"}},
			{"number": "6", "taskId": "TASK", "new`+"\xff"+`": "bảy"},
			{"number": "7", "taskId": "TASK", "addNote": {"text": "sáu"}}
		]}`, "TASK", task)
	want := []string{"applied", "intent_unknown", "mutation_invalid", "intent_unknown", "applied", "intent_unknown", "applied"}
	judgedTheSame(t, r, token, "application/json; charset=utf-8", body, protojson.Unmarshal, want)
	kept, err := fieldsyncv1connect.NewSupportServiceClient(client(t, false, r.token(t, "sep")), r.url).
		ListQuarantined(t.Context(), &fieldsyncv1.ListQuarantinedRequest{})
	if err != nil || len(kept.GetMutations()) != 4 {
		t.Fatalf("%v, %v", kept, err)
	}
	if said := kept.GetMutations()[0].GetMutation().GetUnreadJson(); said != strings.ReplaceAll(weather, "TASK", task) {
		t.Errorf("kept: %s", said)
	}
	for _, q := range kept.GetMutations() {
		if !json.Valid([]byte(q.GetMutation().GetUnreadJson())) {
			t.Errorf("number %d is kept as %q", q.GetMutation().GetNumber(), q.GetMutation().GetUnreadJson())
		}
	}
	for _, bad := range []string{`{"mutations":[{"taskId":"t"}]}`, `{"mutations":[17]}`, `{"mutations":{}}`, `[]`, `{"cursor":5,"mutations":[]}`} {
		got := do(t, client(t, false, token), http.MethodPost, r.url+syncPath, jsonType, strings.NewReader(bad))
		if got.code() != "invalid_argument" {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

// judgedTheSame sends a batch twice: each mutation has the verdict that is wanted, both times the same.
func judgedTheSame(t *testing.T, r *running, token, contentType, body string, read func([]byte, proto.Message) error, want []string) {
	t.Helper()
	var first string
	for range 2 {
		got := do(t, client(t, false, token), http.MethodPost, r.url+syncPath, contentType, strings.NewReader(body))
		answer := &fieldsyncv1.SyncResponse{}
		if err := read([]byte(got.body), answer); err != nil || got.status != http.StatusOK || len(answer.GetVerdicts()) != len(want) {
			t.Fatalf("%d %q: %v", got.status, got.body, err)
		}
		said := ""
		for i, v := range answer.GetVerdicts() {
			said += v.String()
			if v.GetCode() != want[i] || v.GetNumber() != uint64(i+1) {
				t.Errorf("mutation %d: %v, want %s", i+1, v, want[i])
			}
		}
		if first == "" {
			first = said
		} else if said != first {
			t.Errorf("repeated: %s, was %s", said, first)
		}
	}
}

// Protects the lists from one record of before the intake looked at times: what JSON cannot show is told as the nearest that it can, and
// nothing else of the answer is lost.
func TestTimesThatJSONCannotShow(t *testing.T) {
	r := settled(t, testConfig(t))
	fine := r.assigned(t)
	r.update(t, func(tx *store.Tx) error {
		record := &storagev1.TaskRecord{
			Task: &fieldsyncv1.Task{
				Id: "of-old", Ticket: &fieldsyncv1.TicketFacet{UnitId: "city", ReportedAt: &timestamppb.Timestamp{Seconds: 1 << 40}},
				Status:     &fieldsyncv1.StatusFacet{State: fieldsyncv1.TaskState_TASK_STATE_OPEN},
				Assignment: &fieldsyncv1.AssignmentFacet{DueAt: &timestamppb.Timestamp{Seconds: -1 << 40, Nanos: -1}},
			},
			Scopes: []string{string(store.UnitScope("city"))},
		}
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	admin := client(t, false, r.token(t, "sep"))
	board, err := fieldsyncv1connect.NewBoardServiceClient(admin, r.url, connect.WithProtoJSON()).ListBoard(t.Context(), &fieldsyncv1.ListBoardRequest{})
	if err != nil || len(board.GetRows()) != 2 {
		t.Fatalf("the board: %v, %v", board, err)
	}
	tasks, err := fieldsyncv1connect.NewDispatchServiceClient(admin, r.url, connect.WithProtoJSON()).ListTasks(t.Context(), &fieldsyncv1.ListTasksRequest{})
	if err != nil || len(tasks.GetTasks()) != 2 {
		t.Fatalf("the tasks: %v, %v", tasks, err)
	}
	for _, task := range tasks.GetTasks() {
		if task.GetId() == fine {
			continue
		}
		reported, due := task.GetTicket().GetReportedAt().AsTime(), task.GetAssignment().GetDueAt().AsTime()
		if reported.Year() != 9999 || due.Year() != 1 {
			t.Errorf("reported %v, due %v", reported, due)
		}
	}
}

// Protects the reader of JSON: whatever the bytes are, it takes no more than protobuf's own does, loses no number, and a
// request that it takes is one that can be encoded.
func FuzzJSONRequest(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"mutations":[{"number":"1","addNote":{"text":"x"}},{"number":2,"new":{}}]}`, `{"mutations":[{"number":-1}]}`,
		`{"mutations":null,"cursor":"AQ=="}`, `{"mutations":[{"number":1e3,"number":2}]}`, "\xff", "{\"mutations\":[{\"new\xff\":\"0\",\"number\":0}]}", `{"clock":{"wall":"1970-01-01T00:00:00Z"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, plain := &fieldsyncv1.SyncRequest{}, &fieldsyncv1.SyncRequest{}
		err := jsonCodec{"json"}.Unmarshal(data, got)
		if perr := lenient.Unmarshal(data, plain); perr == nil && err == nil {
			if len(plain.GetMutations()) != len(got.GetMutations()) {
				t.Errorf("%d mutations instead of %d", len(got.GetMutations()), len(plain.GetMutations()))
			}
		}
		if err != nil {
			return
		}
		if _, err := (jsonCodec{"json"}).Marshal(got); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
