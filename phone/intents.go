package phone

import (
	"errors"
	"strings"

	"buf.build/go/protovalidate"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// Each of the following records one intent about a task that this phone holds: it is numbered, fsynced and in the outbox
// when the method returns nil, and nothing is recorded otherwise. No network is needed. Errors: Unauthenticated
// "not_enrolled", NotFound "task_unknown", Invalid "intent_invalid" (a text too long, missing or not UTF-8).
//
// What a phone records is a wish: the replica stays the server's truth until a sync brings the verdict.

// Accept says that the crew will do the task.
func (p *Phone) Accept(task string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Accept{Accept: &fieldsyncv1.Accept{}},
	})
}

// Start says that work begins.
func (p *Phone) Start(task string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Start{Start: &fieldsyncv1.Start{}},
	})
}

// Pause interrupts work, with a reason of 1 to 500 characters.
func (p *Phone) Pause(task, reason string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Pause{Pause: &fieldsyncv1.Pause{Reason: reason}},
	})
}

// Resume goes on after a pause.
func (p *Phone) Resume(task string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Resume{Resume: &fieldsyncv1.Resume{}},
	})
}

// Note writes something down: 1 to 2,000 characters.
func (p *Phone) Note(task, text string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{Text: text}},
	})
}

// Tick ticks a checklist item off, or takes the tick back. NotFound "item_unknown" where the task as held has no such item.
func (p *Phone) Tick(task, item string, checked bool) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: item, Checked: checked}},
	})
}

// Complete says how the task ended, with up to 2,000 characters more. The completion stands on every photo that the crew
// has attached by then.
func (p *Phone) Complete(task string, outcome fieldsyncv1.Outcome, note string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Complete{Complete: &fieldsyncv1.Complete{Outcome: outcome, Note: note}},
	})
}

// Decline says that the crew can't take the task, with a reason of 1 to 500 characters.
func (p *Phone) Decline(task, reason string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_Decline{Decline: &fieldsyncv1.Decline{Reason: reason}},
	})
}

// HandOver gives a begun task back for another crew, with a reason of 1 to 500 characters.
func (p *Phone) HandOver(task, reason string) error {
	return p.record(&fieldsyncv1.Mutation{
		TaskId: task, Intent: &fieldsyncv1.Mutation_HandOver{HandOver: &fieldsyncv1.HandOver{Reason: reason}},
	})
}

// record makes the intent a mutation of its task and puts it into the outbox.
func (p *Phone) record(m *fieldsyncv1.Mutation) error {
	return p.recordWith(m, func(*bolt.Tx) error { return nil })
}

// recordWith does the same, and with it, in one transaction, what also has to be stored.
func (p *Phone) recordWith(m *fieldsyncv1.Mutation, also func(tx *bolt.Tx) error) error {
	m.Position = p.position()
	err := p.update(func(tx *bolt.Tx, st *state) error {
		if st.DeviceID == "" {
			return errNotEnrolled()
		}
		task, err := getTask(tx, m.GetTaskId())
		if err != nil {
			return err
		}
		if task == nil {
			return errTaskNotHeld(m.GetTaskId())
		}
		if err := checkItem(task, m.GetTick()); err != nil {
			return err
		}
		m.BaseRevision = task.GetRevision()
		m.AssignmentEpoch = task.GetAssignment().GetAssignmentEpoch()
		m.Recorded = p.captureTime(st)
		if photo := m.GetAttachPhoto().GetPhoto(); photo != nil && !photo.GetFromGallery() {
			photo.Captured = m.GetRecorded()
		}
		if m.GetComplete() != nil {
			if err := signClaim(tx, st, task, m); err != nil {
				return err
			}
		}
		// The number is taken and used in one transaction: a crash leaves neither a gap nor a number used twice.
		st.LastNumber++
		m.Number = st.LastNumber
		// The server would quarantine what breaks the rules, days later; here the person who wrote it still stands by.
		if err := protovalidate.Validate(m); err != nil {
			return invalid(err)
		}
		if _, err := proto.Marshal(m); err != nil {
			return errInvalid(err.Error()) // A text that is not UTF-8.
		}
		if err := putQueued(tx, queued{epoch: st.InstallEpoch, mutation: m}); err != nil {
			return err
		}
		return also(tx)
	})
	if err != nil {
		return err
	}
	p.hurry()
	return nil
}

// hurry lets Run sync soon.
func (p *Phone) hurry() {
	select {
	case p.recorded <- struct{}{}:
	default:
	}
}

func checkItem(task *fieldsyncv1.Task, tick *fieldsyncv1.Tick) error {
	if tick == nil {
		return nil
	}
	known := make([]string, 0, len(task.GetChecklist()))
	for _, item := range task.GetChecklist() {
		if item.GetId() == tick.GetItemId() {
			return nil
		}
		known = append(known, item.GetId())
	}
	list := strings.Join(known, ", ")
	return fault.New(fault.NotFound, "item_unknown",
		"Công việc không có mục này trong danh sách kiểm tra (có: "+list+").",
		"The task's checklist has no such item (it has: "+list+").")
}

func invalid(err error) error {
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) {
		return err
	}
	rules := make([]string, 0, len(broken.Violations))
	for _, v := range broken.Violations {
		rules = append(rules, v.String())
	}
	return errInvalid(strings.Join(rules, "; "))
}
