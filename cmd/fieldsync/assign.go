package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func newAssignCommand() *cobra.Command {
	var instruction, due string
	cmd := &cobra.Command{
		Use:   "assign TICKET-OR-TASK CREW",
		Short: "Give a task to a crew; a ticket becomes a task first",
		Long: `Give a task to a crew, taking it from whichever crew had it. The first argument is a task's id, a ticket's id, or the
hotline's own id of a ticket; a ticket that is no task yet becomes one. Takes a shell that is enrolled as a dispatcher or
an admin.`,
		Example: `  fieldsync assign 1022-2026-00017 to-1
  fieldsync assign 1022-2026-00017 to-1 --due 2026-11-27T17:00:00+07:00 --instruction "Mang theo cưa máy"`,
		Args: cobra.ExactArgs(2),
	}
	profile := profileFlag(cmd)
	cmd.Flags().StringVar(&instruction, "instruction", "", "what the crew should know")
	cmd.Flags().StringVar(&due, "due", "", "when it should be done (RFC 3339)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		order := &fieldsyncv1.AssignTaskRequest{CrewId: args[1], Instruction: instruction}
		if due != "" {
			at, err := time.Parse(time.RFC3339, due)
			if err != nil {
				return fault.New(fault.Invalid, "flag_invalid",
					fmt.Sprintf("--due: %q không phải là thời điểm RFC 3339: hãy ghi như 2026-11-27T17:00:00+07:00.", due),
					fmt.Sprintf("--due: %q is not an RFC 3339 time: write it like 2026-11-27T17:00:00+07:00.", due))
			}
			order.DueAt = timestamppb.New(at)
		}
		return asOperator(*profile, func(o operator) (err error) {
			if order.TaskId, err = taskFor(cmd.Context(), o, args[0]); err != nil {
				return err
			}
			resp, err := o.dispatch().AssignTask(cmd.Context(), order)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s → %s\n", resp.GetTask().GetId(), resp.GetTask().GetAssignment().GetCrewId())
			}
			return err
		})
	}
	return cmd
}

// taskOf finds the task that an id means: a task's own, a ticket's, or the hotline's of a ticket. It makes none.
func taskOf(ctx context.Context, o operator, id string) (string, error) {
	if _, err := o.dispatch().GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: id}); err == nil || !mayBeAnotherID(err) {
		return id, err
	}
	ticket, err := ticketOf(ctx, o, id)
	if err == nil && ticket.GetTaskId() == "" {
		err = fault.New(fault.Precondition, "ticket_without_task",
			fmt.Sprintf("Phiếu %q chưa thành công việc: hãy giao bằng `fieldsync assign`.", id),
			fmt.Sprintf("Ticket %q is no task yet: give it to a crew with `fieldsync assign`.", id))
	}
	return ticket.GetTaskId(), err
}

// taskFor is taskOf, and makes a task of a ticket that is none yet.
func taskFor(ctx context.Context, o operator, id string) (string, error) {
	if _, err := o.dispatch().GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: id}); err == nil {
		return id, nil
	} else if !mayBeAnotherID(err) {
		return "", err
	}
	created, err := o.dispatch().CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{TicketId: id})
	if err == nil || !mayBeAnotherID(err) {
		return created.GetTask().GetId(), err
	}
	ticket, err := ticketOf(ctx, o, id)
	if err != nil {
		return "", err
	}
	created, err = o.dispatch().CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{TicketId: ticket.GetId()})
	return created.GetTask().GetId(), err
}

// ticketOf finds the ticket with an id: the hotline's, its own, or that of the task that it has become.
func ticketOf(ctx context.Context, o operator, id string) (*fieldsyncv1.Ticket, error) {
	if id != "" { // An empty one names nothing: all would be listed.
		for _, request := range []*fieldsyncv1.ListTicketsRequest{{HotlineId: id}, {TicketId: id}} {
			if ticket, err := namedTicket(ctx, o, request); ticket != nil || err != nil {
				return ticket, err
			}
		}
	}
	if got, err := o.dispatch().GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: id}); err == nil {
		if ticket, err := namedTicket(ctx, o, &fieldsyncv1.ListTicketsRequest{TicketId: got.GetTask().GetTicket().GetTicketId()}); ticket != nil || err != nil {
			return ticket, err
		}
	} else if !mayBeAnotherID(err) {
		return nil, err
	}
	return nil, fault.New(fault.NotFound, "ticket_unknown",
		fmt.Sprintf("Không có công việc hay phiếu nào mang mã %q.", id),
		fmt.Sprintf("There is no task and no ticket %q.", id))
}

// namedTicket is the one ticket that the request names; nil where there is none.
func namedTicket(ctx context.Context, o operator, request *fieldsyncv1.ListTicketsRequest) (*fieldsyncv1.Ticket, error) {
	tickets, err := o.dispatch().ListTickets(ctx, request)
	if err != nil && mayBeAnotherID(err) || err == nil && len(tickets.GetTickets()) != 1 {
		return nil, nil //nolint:nilnil // The caller goes on to look elsewhere.
	}
	if err != nil {
		return nil, err
	}
	return tickets.GetTickets()[0], nil
}

// mayBeAnotherID: there is no such task or ticket, or the id does not even have the shape of one.
func mayBeAnotherID(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeNotFound || code == connect.CodeInvalidArgument
}
