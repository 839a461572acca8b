package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects the reconciliation: each way in which two lists can differ is named with its reason, and what agrees is not named.
func TestReconcile(t *testing.T) {
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	at := timestamppb.New(day)
	const done, started, cancelled, closed = fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_STARTED,
		fieldsyncv1.TaskState_TASK_STATE_CANCELLED, fieldsyncv1.TaskState_TASK_STATE_CLOSED
	standings := map[string]*fieldsyncv1.TicketStanding{
		"same-open":   {State: started, CrewId: "to-1", Since: at},
		"same-closed": {State: closed, ClosedAt: at, CompletionId: "c"},
		"acked":       {State: closed, ClosedAt: at, CompletionId: "c"},
		"parent":      {ClosedAt: at, ParentHotlineId: "goc"},
		"withdrawn":   {State: cancelled, WithdrawnAt: at},
		"cancelled":   {State: cancelled, Reason: "nhầm"},
		"crew":        {State: started, CrewId: "to-1", Since: at},
		"no-crew":     {State: fieldsyncv1.TaskState_TASK_STATE_OPEN},
		"no-task":     {UnitId: "city"},
		"photos":      {State: done, ProofState: fieldsyncv1.ProofState_PROOF_STATE_CLAIMED, Waiting: &fieldsyncv1.Sentence{Vi: "Còn 1 ảnh", En: "1 photo"}},
		"unacked":     {State: done, ProofState: fieldsyncv1.ProofState_PROOF_STATE_SEALED, CompletionId: "c"},
		"duplicate":   {ParentHotlineId: "goc"},
		"unlisted":    {ReportedAt: at},
		"long-ago":    {ReportedAt: timestamppb.New(day.AddDate(0, -1, 0))},
	}
	listed := map[string]bool{
		"same-open": false, "same-closed": true, "acked": false, "parent": false, "withdrawn": false, "cancelled": false, "crew": true,
		"no-crew": true, "no-task": true, "photos": true, "unacked": true, "duplicate": true, "unheard-of": false,
	}
	var got []string
	for _, d := range reconcile(listed, standings, day) {
		got = append(got, fmt.Sprintf("%s %s/%s %s", d.HotlineID, d.Hotline, d.Fieldsync, d.Code))
		if d.Vi == "" || d.En == "" {
			t.Errorf("%s: no reason", d.HotlineID)
		}
	}
	want := []string{
		"acked open/closed acknowledged", "cancelled open/closed cancelled", "crew closed/open with_crew", "duplicate closed/open parent_open",
		"no-crew closed/open no_crew", "no-task closed/open no_task", "parent open/closed closed_with_parent", "photos closed/open not_sealed",
		"unacked closed/open not_acknowledged", "unheard-of open/missing never_handed_over", "unlisted missing/open not_in_list",
		"withdrawn open/closed withdrawn",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
