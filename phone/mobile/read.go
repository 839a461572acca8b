package mobile

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/phone"
)

// Status is how the phone is. Times are Unix milliseconds by the phone's clock, 0 where there is none.
type Status struct {
	Enrolled             bool
	DeviceID, MemberName string
	// Unsent and Photos wait to be sent.
	Unsent, Photos int64
	OldestUnsent   int64
	// Tasks are held; Whole: as the server had them at LastSync. Otherwise Remaining had not come yet.
	Tasks, Remaining int64
	Whole            bool
	LastSync         int64
	// Verdicts is how many there are to read.
	Verdicts int64
	// Watching is "stream" or "long-poll".
	Watching string
}

// Status tells how the phone is, from what it holds.
func (p *Phone) Status() (*Status, error) {
	s, err := p.phone.Status()
	if err != nil {
		return nil, p.said(err)
	}
	return &Status{
		Enrolled: s.DeviceID != "", DeviceID: s.DeviceID, MemberName: s.MemberName,
		Unsent: int64(s.Queued), Photos: int64(s.PhotosWaiting), OldestUnsent: millis(s.Oldest),
		Tasks: int64(s.Tasks), Remaining: int64(s.Remaining), Whole: s.Whole, LastSync: millis(s.LastSync), //nolint:gosec // Tasks of a scope.
		Verdicts: int64(s.Verdicts), Watching: string(s.Watching),
	}, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Tasks are tasks as they were when they were read.
type Tasks struct{ held []phone.Held }

// Len is how many there are.
func (t *Tasks) Len() int64 { return int64(len(t.held)) }

// Get returns one, from 0 to Len-1; null beyond.
func (t *Tasks) Get(i int64) *Task {
	if i < 0 || i >= t.Len() {
		return nil
	}
	return newTask(t.held[i])
}

// Task is a task as the server last had it.
type Task struct {
	ID, HotlineID, Title, Address string
	// State is the API's, without its prefix and in small letters: "assigned", "started" ….
	State string
	// Due is Unix milliseconds, 0 where there is none.
	Due int64
	// Pending is how many intents about it wait for a verdict.
	Pending int64

	whole *fieldsyncv1.Task
}

// JSON is all of it: fieldsync.v1.Task in protobuf's JSON.
func (t *Task) JSON() (string, error) {
	text, err := protojson.Marshal(t.whole)
	return string(text), err
}

func newTask(h phone.Held) *Task {
	t := &Task{
		ID: h.Task.GetId(), HotlineID: h.Task.GetTicket().GetHotlineId(), Title: h.Task.GetTicket().GetTitle(),
		Address: h.Task.GetTicket().GetAddress(), State: small(h.Task.GetStatus().GetState().String(), "TASK_STATE_"),
		Pending: int64(len(h.Pending)), whole: h.Task,
	}
	if due := h.Task.GetAssignment().GetDueAt(); due.IsValid() {
		t.Due = due.AsTime().UnixMilli()
	}
	return t
}

// Tasks returns the tasks that the phone holds, in the order of their making.
func (p *Phone) Tasks() (*Tasks, error) {
	held, err := p.phone.Tasks()
	return &Tasks{held}, p.said(err)
}

// Task returns one of them. Errors: "task_unknown".
func (p *Phone) Task(id string) (*Task, error) {
	held, err := p.phone.Task(id)
	if err != nil {
		return nil, p.said(err)
	}
	return newTask(held), nil
}

// Verdicts are what did not simply take effect.
type Verdicts struct {
	judged []phone.Judged
	vi     bool
}

// Len is how many there are.
func (v *Verdicts) Len() int64 { return int64(len(v.judged)) }

// Verdict is what the server said of one intent.
type Verdict struct {
	Task string
	// Kind is "merged", "superseded", "quarantined" or "rejected".
	Kind, Code, Sentence string
}

// Get returns one, oldest first, from 0 to Len-1; null beyond.
func (v *Verdicts) Get(i int64) *Verdict {
	if i < 0 || i >= v.Len() {
		return nil
	}
	j := v.judged[i]
	text := j.Verdict.GetMessage().GetEn()
	if v.vi {
		text = j.Verdict.GetMessage().GetVi()
	}
	return &Verdict{
		Task: j.Mutation.GetTaskId(), Kind: small(j.Verdict.GetKind().String(), "VERDICT_KIND_"),
		Code: j.Verdict.GetCode(), Sentence: text,
	}
}

// Verdicts returns the newest 1,000.
func (p *Phone) Verdicts() (*Verdicts, error) {
	judged, err := p.phone.Verdicts()
	return &Verdicts{judged, p.vi}, p.said(err)
}

// small is the name of an enum's value as an app has it.
func small(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }
