package dispatch

import (
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// dispatchesFor tells whether a member is one of the unit's dispatchers. The city's are those of its own tickets alone: they
// would be woken for everything.
func dispatchesFor(m *fieldsyncv1.Member, unit string) bool {
	return m.GetRole() == fieldsyncv1.Role_ROLE_DISPATCHER && m.GetUnitId() == unit
}

// headOf tells whether a member is the head of the unit; of the city's own tickets, one of its supervisors.
func headOf(m *fieldsyncv1.Member, unit string) bool {
	return m.GetRole() == fieldsyncv1.Role_ROLE_UNIT_HEAD && m.GetUnitId() == unit ||
		m.GetRole() == fieldsyncv1.Role_ROLE_CITY_SUPERVISOR && unit == auth.CityUnit
}

// wakeMembers enters a visible push into the outbox for each phone of the members that it picks. They have no new task.
func wakeMembers(tx *store.Tx, picks func(*fieldsyncv1.Member) bool) (pushes uint32, err error) {
	for member, err := range store.Scan(tx, store.Members(), nil) {
		if err != nil {
			return pushes, err
		}
		if !picks(member) {
			continue
		}
		woken, err := wakeMember(tx, member.GetId(), &storagev1.PushHint{Visible: true, Reminder: true})
		if err != nil {
			return pushes, err
		}
		pushes += woken
	}
	return pushes, nil
}

// wakeCrew does so for the crew that has a task, or for those of its members that picks wants; nil picks all. A task that the crew has
// not answered is new to it, until it does.
func wakeCrew(tx *store.Tx, task *fieldsyncv1.Task, picks func(*fieldsyncv1.Member) bool) (pushes uint32, err error) {
	crew := task.GetAssignment().GetCrewId()
	if crew == "" {
		return 0, nil
	}
	for stub, err := range store.Scan(tx, store.CrewMembers(crew), nil) {
		if err != nil {
			return pushes, err
		}
		if picks != nil {
			member, err := store.Get(tx, store.MemberKey(stub.GetId()))
			if err != nil {
				return pushes, err
			}
			if !picks(member) {
				continue
			}
		}
		woken, err := wakeMember(tx, stub.GetId(), &storagev1.PushHint{
			Visible: true, TaskId: task.GetId(), AssignmentEpoch: task.GetAssignment().GetAssignmentEpoch(),
			Reminder: task.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_ASSIGNED,
		})
		if err != nil {
			return pushes, err
		}
		pushes += woken
	}
	return pushes, nil
}

func wakeMember(tx *store.Tx, member string, hint *storagev1.PushHint) (pushes uint32, err error) {
	for device, err := range memberDevices(tx, member) {
		if err != nil {
			return pushes, err
		}
		if device.GetPush() == nil {
			continue
		}
		one := proto.CloneOf(hint)
		one.DeviceId = device.GetId()
		if err := store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{Push: one}}); err != nil {
			return pushes, err
		}
		pushes++
	}
	return pushes, nil
}

// crewDevices yields the devices of a crew's members that are not revoked. An error ends it.
func crewDevices(tx *store.Tx, crew string) iter.Seq2[*storagev1.Device, error] {
	return func(yield func(*storagev1.Device, error) bool) {
		for member, err := range store.Scan(tx, store.CrewMembers(crew), nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			for device, err := range memberDevices(tx, member.GetId()) {
				if !yield(device, err) || err != nil {
					return
				}
			}
		}
	}
}

// memberDevices is the same of one member.
func memberDevices(tx *store.Tx, member string) iter.Seq2[*storagev1.Device, error] {
	return func(yield func(*storagev1.Device, error) bool) {
		for stub, err := range store.Scan(tx, store.MemberDevices(member), nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			device, err := store.Get(tx, store.DeviceKey(stub.GetId()))
			if err == nil && device.GetRevokedAt() != nil {
				continue
			}
			if !yield(device, err) || err != nil {
				return
			}
		}
	}
}
