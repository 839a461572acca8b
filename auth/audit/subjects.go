package audit

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// kinds are the fields that name somebody or something, in any message of the API.
var kinds = map[protoreflect.Name]string{
	"ticket_id": "ticket", "hotline_id": "ticket", "hotline_ids": "ticket", "ticket_ids": "ticket",
	"task_id": "task", "task_ids": "task", "completion_id": "completion", "completion_ids": "completion",
	"device_id": "device", "member_id": "member", "crew_id": "crew", "unit_id": "unit", "id": "id",
}

// kindsOfID are the messages whose field id is of a kind of its own.
var kindsOfID = map[protoreflect.Name]string{"Member": "member", "Crew": "crew", "Unit": "unit", "Task": "task"}

// subjectsOf finds whom and what a request is about, by the names of its fields. An id within it counts where it is of a kind of its
// own: items of a checklist are nobody's subject.
func subjectsOf(message protoreflect.Message) []*fieldsyncv1.AuditSubject {
	return collect(message, nil, true)
}

// answeredWith finds what only an answer names, in its own fields: what it tells of a task beyond its id is not what the act was about.
func answeredWith(message protoreflect.Message, found []*fieldsyncv1.AuditSubject) []*fieldsyncv1.AuditSubject {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch kind := kinds[field.Name()]; {
		case field.IsList() || field.IsMap():
		case field.Kind() == protoreflect.StringKind && kind != "" && kind != "id":
			found = appendSubject(found, kind, value.String())
		case field.Kind() == protoreflect.MessageKind && kindsOfID[field.Message().Name()] != "":
			id := value.Message().Get(field.Message().Fields().ByName("id")).String()
			found = appendSubject(found, kindsOfID[field.Message().Name()], id)
		}
		return true
	})
	return found
}

func collect(message protoreflect.Message, found []*fieldsyncv1.AuditSubject, top bool) []*fieldsyncv1.AuditSubject {
	own := kindsOfID[message.Descriptor().Name()]
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		kind := kinds[field.Name()]
		if kind == "id" && (own != "" || !top) {
			kind = own
		}
		switch {
		case field.IsMap():
		case field.IsList() && field.Kind() == protoreflect.StringKind && kind != "":
			for i := range value.List().Len() {
				found = appendSubject(found, kind, value.List().Get(i).String())
			}
		case field.IsList() && field.Kind() == protoreflect.MessageKind:
			for i := range min(value.List().Len(), maxSubjects) {
				found = collect(value.List().Get(i).Message(), found, false)
			}
		case field.IsList():
		case field.Kind() == protoreflect.StringKind && kind != "":
			found = appendSubject(found, kind, value.String())
		case field.Kind() == protoreflect.MessageKind:
			found = collect(value.Message(), found, false)
		}
		return len(found) < maxSubjects
	})
	return found
}

// appendSubject adds one that is not there yet, if there is room.
func appendSubject(all []*fieldsyncv1.AuditSubject, kind, id string) []*fieldsyncv1.AuditSubject {
	if id == "" || len(all) >= maxSubjects || slices.ContainsFunc(all, func(s *fieldsyncv1.AuditSubject) bool { return s.GetKind() == kind && s.GetId() == id }) {
		return all
	}
	return append(all, &fieldsyncv1.AuditSubject{Kind: kind, Id: id})
}

// withTickets adds the tickets that tasks and completions belong to, and gives tickets fieldsync's own id, so that whoever asks for a
// ticket finds all. What there is not, as what a refused act named, stays as it was named.
func withTickets(tx *store.Tx, subjects []*fieldsyncv1.AuditSubject) (all []*fieldsyncv1.AuditSubject, err error) {
	for _, s := range subjects {
		id, ticket := s.GetId(), ""
		switch s.GetKind() {
		case "ticket":
			known, err := store.Get(tx, store.TicketByHotlineKey(id))
			if err != nil {
				return nil, err
			}
			if known != nil {
				id = known.GetId()
			}
		case "task":
			task, err := store.Get(tx, store.TaskKey(id))
			if err != nil {
				return nil, err
			}
			ticket = task.GetTask().GetTicket().GetTicketId()
		case "completion":
			completion, err := store.Get(tx, store.CompletionKey(id))
			if err != nil {
				return nil, err
			}
			ticket = completion.GetTicketId()
			all = appendSubject(all, "task", completion.GetTaskId())
		}
		all = appendSubject(all, s.GetKind(), id)
		all = appendSubject(all, "ticket", ticket)
	}
	return all, nil
}

// ticketOf returns fieldsync's own id of the ticket that somebody names by it, by the hotline's id, or by one of its tasks.
func ticketOf(tx *store.Tx, name string) (string, error) {
	named, err := withTickets(tx, []*fieldsyncv1.AuditSubject{{Kind: "ticket", Id: name}, {Kind: "task", Id: name}})
	if err != nil {
		return "", err
	}
	for _, s := range named {
		if s.GetKind() == "ticket" && s.GetId() != name {
			return s.GetId(), nil
		}
	}
	return name, nil
}
