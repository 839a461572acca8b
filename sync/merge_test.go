package sync

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

const (
	open      = fieldsyncv1.TaskState_TASK_STATE_OPEN
	assigned  = fieldsyncv1.TaskState_TASK_STATE_ASSIGNED
	accepted  = fieldsyncv1.TaskState_TASK_STATE_ACCEPTED
	started   = fieldsyncv1.TaskState_TASK_STATE_STARTED
	paused    = fieldsyncv1.TaskState_TASK_STATE_PAUSED
	done      = fieldsyncv1.TaskState_TASK_STATE_DONE
	closed    = fieldsyncv1.TaskState_TASK_STATE_CLOSED
	cancelled = fieldsyncv1.TaskState_TASK_STATE_CANCELLED
)

func inState(state fieldsyncv1.TaskState) *storagev1.TaskRecord {
	return &storagev1.TaskRecord{
		Task: &fieldsyncv1.Task{
			Id: "t", Revision: 7,
			Status:     &fieldsyncv1.StatusFacet{Revision: 7, State: state},
			Assignment: &fieldsyncv1.AssignmentFacet{Revision: 5, CrewId: "crew", AssignmentEpoch: 3},
			Checklist:  []*fieldsyncv1.ChecklistItem{{Id: "fence", Revision: 1}},
			Photos:     []*fieldsyncv1.Photo{{Id: "p1", Sha256: make([]byte, 32), DeviceId: "device", Revision: 2}},
		},
		Scopes: []string{"c:crew", "u:unit"},
		Tenures: []*storagev1.Tenure{
			{CrewId: "former", AssignmentEpoch: 2}, {CrewId: "crew", AssignmentEpoch: 3},
		},
	}
}

func by(crew string) author {
	return author{
		memberID: "member", deviceID: "device", crewID: crew, item: "device-1-9",
		stays: []stay{{crew: crew, then: true}},
		at:    time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), interval: &fieldsyncv1.TimeInterval{},
	}
}

// Protects the design's table of conflicts: what each intent does in each state, for the crew that has the task and for
// one that had it; and that a mutation which takes no effect leaves no trace.
func TestMerge(t *testing.T) {
	accept := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Accept{Accept: &fieldsyncv1.Accept{}}}
	begin := start(1, "t")
	pause := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Pause{Pause: &fieldsyncv1.Pause{Reason: "mưa"}}}
	resume := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Resume{Resume: &fieldsyncv1.Resume{}}}
	write := note(1, "t", "ghi chú")
	tick := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: "fence", Checked: true}}}
	untick := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: "fence"}}}
	tickOther := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: "other"}}}
	photo := attach(1, "t", "p2", 2)
	samePhoto := attach(1, "t", "p1", 0)
	takenID := attach(1, "t", "p1", 9)
	finish := complete(1, "t")
	missing := complete(1, "t")
	missing.GetComplete().PhotoIds = []string{"p1", "p9"}
	decline := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_Decline{Decline: &fieldsyncv1.Decline{Reason: "thiếu xe"}}}
	handOver := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_HandOver{HandOver: &fieldsyncv1.HandOver{Reason: "hết ca"}}}
	stale := proto.CloneOf(finish)
	stale.AssignmentEpoch = 1
	for _, test := range []struct {
		name   string
		state  fieldsyncv1.TaskState
		crew   string
		m      *fieldsyncv1.Mutation
		want   judgement
		then   fieldsyncv1.TaskState
		review bool
	}{
		{"accept", assigned, "crew", accept, applied, accepted, false},
		{"accept twice", accepted, "crew", accept, already, accepted, false},
		{"accept after the end", cancelled, "crew", accept, alreadyEnded, cancelled, false},
		{"start", assigned, "crew", begin, applied, started, false},
		{"start accepted", accepted, "crew", begin, applied, started, false},
		{"start paused", paused, "crew", begin, applied, started, false},
		{"start twice", started, "crew", begin, already, started, false},
		{"start done", done, "crew", begin, alreadyEnded, done, false},
		{"start late", assigned, "former", begin, alreadyEnded, assigned, false},
		{"pause", started, "crew", pause, applied, paused, false},
		{"pause twice", paused, "crew", pause, already, paused, false},
		{"pause unstarted", assigned, "crew", pause, notStarted, assigned, false},
		{"pause late", started, "former", pause, alreadyEnded, started, false},
		{"resume", paused, "crew", resume, applied, started, false},
		{"resume running", started, "crew", resume, already, started, false},
		{"resume unstarted", accepted, "crew", resume, notStarted, accepted, false},
		{"note", started, "crew", write, applied, started, false},
		{"note after done", done, "crew", write, keptEnded, done, false},
		{"note after closed", closed, "crew", write, keptEnded, closed, false},
		{"note after cancelled", cancelled, "crew", write, keptLate, cancelled, true},
		{"note late", started, "former", write, keptLate, started, true},
		{"tick", started, "crew", tick, applied, started, false},
		{"untick unticked", started, "crew", untick, already, started, false},
		{"tick unknown", started, "crew", tickOther, unknownItem, started, false},
		{"tick late", started, "former", tick, alreadyEnded, started, false},
		{"photo", started, "crew", photo, applied, started, false},
		{"photo again", started, "crew", samePhoto, already, started, false},
		{"photo id taken", started, "crew", takenID, photoIDTaken, started, false},
		{"photo late", done, "former", photo, keptLate, done, true},
		{"complete", started, "crew", finish, applied, done, false},
		{"complete unstarted", assigned, "crew", finish, applied, done, false},
		{"complete twice", done, "crew", finish, already, done, false},
		{"complete against cancel", cancelled, "crew", finish, keptLate, cancelled, true},
		{"complete against reassign", assigned, "former", finish, keptLate, assigned, true},
		{"complete under an older assignment", started, "crew", stale, keptLate, started, true},
		{"complete with an unknown photo", started, "crew", missing, photosMissing, started, false},
		{"decline", assigned, "crew", decline, applied, open, false},
		{"decline started", started, "crew", decline, alreadyStarted, started, false},
		{"decline late", assigned, "former", decline, alreadyEnded, assigned, false},
		{"hand over", started, "crew", handOver, applied, open, false},
		{"hand over done", done, "crew", handOver, alreadyEnded, done, false},
		{"a stranger's note", started, "stranger", write, unknownTask, started, false},
		{"a stranger's completion", started, "stranger", finish, unknownTask, started, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			record := inState(test.state)
			before := proto.CloneOf(record)
			got := merge(record, test.m, by(test.crew))
			if got != test.want {
				t.Errorf("judged %s, want %s", got.code, test.want.code)
			}
			if s := record.GetTask().GetStatus(); s.GetState() != test.then || s.GetReview() != test.review {
				t.Errorf("state %v, review %t; want %v, %t", s.GetState(), s.GetReview(), test.then, test.review)
			}
			if want := record.GetTask().GetStatus().GetRevision(); test.review && record.GetLateRevision() != want || !test.review && record.GetLateRevision() != 0 {
				t.Errorf("late evidence is told of at revision %d; flagged: %t at %d", record.GetLateRevision(), test.review, want)
			}
			touched := got.kind == kindApplied || got.kind == kindMerged
			if raised := record.GetTask().GetRevision() > 7; raised != touched {
				t.Errorf("revision raised: %t, but the judgement is %v", raised, got.kind)
			}
			if !touched && !proto.Equal(record, before) {
				t.Error("no effect was meant, and the record has changed")
			}
		})
	}
}

// Protects the fence: a task that is given back leaves its crew's scope under a new assignment epoch, with its tenure ended,
// and stays in the unit's.
func TestGiveBack(t *testing.T) {
	record := inState(started)
	m := &fieldsyncv1.Mutation{Intent: &fieldsyncv1.Mutation_HandOver{HandOver: &fieldsyncv1.HandOver{Reason: "hết ca"}}}
	if got := merge(record, m, by("crew")); got != applied {
		t.Fatalf("judged %s", got.code)
	}
	a := record.GetTask().GetAssignment()
	if a.GetCrewId() != "" || a.GetAssignmentEpoch() != 4 || a.GetRevision() != record.GetTask().GetRevision() {
		t.Errorf("assignment %v", a)
	}
	if len(record.GetScopes()) != 1 || record.GetScopes()[0] != "u:unit" {
		t.Errorf("scopes %v", record.GetScopes())
	}
	if record.GetTenures()[1].GetUntil() == nil {
		t.Error("the tenure goes on")
	}
}
