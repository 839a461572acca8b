package main

import (
	"fmt"
	"slices"

	"connectrpc.com/connect"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// order is what a dispatcher has said of a task, kept to be said again.
type order struct {
	op       op
	task     string
	crew     string
	expected *uint64
	reason   string
}

// dispatch is what the dispatchers do. They see all of the city, so they go by the truth.
func (w *world) dispatch(a *action) string {
	desk := w.desk()
	if desk.busy || !desk.enrolled {
		return desk.name + " is busy"
	}
	client := fieldsyncv1connect.NewDispatchServiceClient(desk.phone.Client(), origin)
	switch a.op {
	case opCreate:
		tickets := w.truth().tickets
		if len(tickets) == 0 {
			return nothing
		}
		ticket := tickets[a.what%len(tickets)]
		_, err := client.CreateTask(w.ctx, &fieldsyncv1.CreateTaskRequest{TicketId: ticket.GetId(), Checklist: checklist(a.how)})
		return fmt.Sprintf("%s: %s", ticket.GetId(), outcome(err))
	case opMove:
		h := w.crewSets()[a.who%len(w.crewSets())]
		w.injected["member-moved"]++
		_, err := client.PutMember(w.ctx, &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{
			Id: h.member, Name: h.name, Role: h.role, CrewId: crews[a.how%2],
		}})
		return fmt.Sprintf("%s to %s: %s", h.member, crews[a.how%2], outcome(err))
	case opReunit:
		w.injected["unit-changed"]++
		h := w.ward()
		chief := fieldsyncv1connect.NewDispatchServiceClient(w.sets[0].phone.Client(), origin)
		_, err := chief.PutMember(w.ctx, &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{
			Id: h.member, Name: h.name, Role: h.role, UnitId: units[1+a.how%2],
		}})
		return fmt.Sprintf("%s to %s: %s", h.member, units[1+a.how%2], outcome(err))
	case opRevoke:
		h := w.crewSets()[a.who%len(w.crewSets())]
		id := h.status().DeviceID
		if id == "" || len(w.sets) > 10 {
			return nothing
		}
		w.injected["device-revoked"]++
		_, err := fieldsyncv1connect.NewIdentityServiceClient(desk.phone.Client(), origin).RevokeDevice(w.ctx, &fieldsyncv1.RevokeDeviceRequest{DeviceId: id})
		return fmt.Sprintf("%s: %s", h.name, outcome(err))
	case opRepeat:
		if w.lastOrder == nil {
			return nothing
		}
		return w.give(client, *w.lastOrder)
	default:
		tasks := w.truth().tasks
		if len(tasks) == 0 {
			return nothing
		}
		record := tasks[a.what%len(tasks)]
		o := order{op: a.op, task: record.GetTask().GetId(), crew: crews[a.how%2], reason: fmt.Sprintf("reason %d", a.how%3)}
		epoch := record.GetTask().GetAssignment().GetAssignmentEpoch()
		switch {
		case a.how%5 == 0 && epoch > 0:
			epoch--
			o.expected = &epoch
		case a.how%5 < 3:
			o.expected = &epoch
		}
		w.lastOrder = &o
		return w.give(client, o)
	}
}

func (w *world) give(client fieldsyncv1connect.DispatchServiceClient, o order) string {
	var err error
	switch o.op {
	case opAssign:
		_, err = client.AssignTask(w.ctx, &fieldsyncv1.AssignTaskRequest{
			TaskId: o.task, CrewId: o.crew, Instruction: o.reason, ExpectedAssignmentEpoch: o.expected,
		})
	case opRecall:
		_, err = client.RecallTask(w.ctx, &fieldsyncv1.RecallTaskRequest{TaskId: o.task, Reason: o.reason, ExpectedAssignmentEpoch: o.expected})
	default:
		_, err = client.CancelTask(w.ctx, &fieldsyncv1.CancelTaskRequest{TaskId: o.task, Reason: o.reason, ExpectedAssignmentEpoch: o.expected})
	}
	return fmt.Sprintf("%s %s %s: %s", o.op, o.task, o.crew, outcome(err))
}

func checklist(how int) (items []*fieldsyncv1.ChecklistTemplate) {
	for i := range how % 3 {
		items = append(items, &fieldsyncv1.ChecklistTemplate{Id: fmt.Sprintf("item-%d", i), Label: &fieldsyncv1.Sentence{Vi: "mục", En: "item"}})
	}
	return items
}

// feed is what the hotline has read.
type feed struct {
	cursor []byte
	// read are the completions in the order in which they first came, per life of the server's data.
	read   []string
	unsure []string // Read and not acknowledged.
}

// callHotline is what the 1022 system does.
func (w *world) callHotline(a *action) string {
	set := w.hotline()
	if set.busy || !set.enrolled {
		return set.name + " is busy"
	}
	client := fieldsyncv1connect.NewHotlineServiceClient(set.phone.Client(), origin)
	switch a.op {
	case opTicket:
		id := fmt.Sprintf("1022-%d", len(w.tickets))
		w.tickets = append(w.tickets, id)
		return w.submit(client, id, units[a.how%3])
	case opRetitle, opReroute:
		if len(w.tickets) == 0 {
			return nothing
		}
		unit := ""
		if a.op == opReroute {
			unit = units[a.how%3]
		}
		return w.submit(client, w.tickets[a.what%len(w.tickets)], unit)
	case opFeed:
		return w.readFeed(client, uint32(1+a.how%4)) //nolint:gosec // Small.
	default:
		if len(w.feed.unsure) == 0 {
			return nothing
		}
		ids := w.feed.unsure[:1+a.how%len(w.feed.unsure)]
		_, err := client.AcknowledgeCompletions(w.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
		if err == nil {
			w.feed.unsure = w.feed.unsure[len(ids):]
		}
		if code := wireCode(err); code == "completion_unknown" {
			if w.house.epochs == 0 {
				w.failf("feed", "the hotline acknowledges what it was given, and is told %v", err)
			}
			known := w.truth().feed
			w.feed.unsure = slices.DeleteFunc(w.feed.unsure, func(id string) bool { // Of a life that is over.
				return !slices.ContainsFunc(known, func(c *storagev1.Completion) bool { return c.GetId() == id })
			})
		}
		return fmt.Sprintf("%d: %s", len(ids), outcome(err))
	}
}

func (w *world) submit(client fieldsyncv1connect.HotlineServiceClient, id, unit string) string {
	_, err := client.SubmitTickets(w.ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{{
		HotlineId: id, Category: "fallen-tree", Title: titleOf(id) + w.text("title"), UnitId: unit,
	}}})
	return fmt.Sprintf("%s in %q: %s", id, unit, outcome(err))
}

// titleOf begins the titles of a ticket, and stands nowhere else.
func titleOf(hotlineID string) string { return "secret of " + hotlineID + ";" }

func (w *world) readFeed(client fieldsyncv1connect.HotlineServiceClient, limit uint32) string {
	page, err := client.ListCompletions(w.ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: w.feed.cursor, Limit: limit})
	if connect.CodeOf(err) == connect.CodeOutOfRange && err != nil {
		if w.house.epochs == 0 {
			w.failf("feed", "the hotline's cursor is refused: %v", err)
		}
		w.feed = feed{unsure: w.feed.unsure}
		return outcome(err)
	}
	if err != nil {
		return outcome(err)
	}
	w.feed.cursor = page.GetCursor()
	for _, c := range page.GetCompletions() {
		w.feed.read = append(w.feed.read, c.GetId())
		w.feed.unsure = append(w.feed.unsure, c.GetId())
	}
	return fmt.Sprintf("%d completions, more: %t", len(page.GetCompletions()), page.GetMore())
}

// probe asks for a task that is none of the phone's business, and for one that does not exist: the answers must be the
// same.
func (w *world) probe(h *handset, a *action) string {
	if !h.enrolled {
		return nothing
	}
	client := fieldsyncv1connect.NewMediaServiceClient(h.phone.Client(), origin)
	ask := func(task string) string {
		_, err := client.Declare(w.ctx, &fieldsyncv1.DeclareRequest{TaskId: task, PhotoId: "none"})
		return outcome(err)
	}
	tasks := w.truth().tasks
	if len(tasks) == 0 {
		return nothing
	}
	was, disk := w.cuts, w.writes
	w.cuts = nil
	foreign, none := ask(tasks[a.what%len(tasks)].GetTask().GetId()), ask("there-is-no-such-task")
	w.cuts = was
	// A question that the phone's own storage has kept from being asked tells nothing.
	asked := disk >= w.action.disk || w.writes < w.action.disk
	if foreign != none && !w.harmed && asked {
		w.failf("leak", "%s asks for a photo of a task and hears %s, of none %s", h.name, foreign, none)
	}
	return h.name + ": " + foreign
}
