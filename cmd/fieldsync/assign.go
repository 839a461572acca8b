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

// ticketOf finds the ticket with an id, its own or the hotline's.
func ticketOf(ctx context.Context, o operator, id string) (*fieldsyncv1.Ticket, error) {
	for page := (&fieldsyncv1.Page{Size: 500}); ; {
		tickets, err := o.dispatch().ListTickets(ctx, &fieldsyncv1.ListTicketsRequest{Page: page})
		if err != nil {
			return nil, err
		}
		for _, ticket := range tickets.GetTickets() {
			if ticket.GetFacts().GetHotlineId() == id || ticket.GetId() == id || ticket.GetTaskId() == id {
				return ticket, nil
			}
		}
		if page.Token = tickets.GetNextToken(); page.GetToken() == "" {
			return nil, fault.New(fault.NotFound, "ticket_unknown",
				fmt.Sprintf("Không có công việc hay phiếu nào mang mã %q.", id),
				fmt.Sprintf("There is no task and no ticket %q.", id))
		}
	}
}

// mayBeAnotherID: there is no such task or ticket, or the id does not even have the shape of one.
func mayBeAnotherID(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeNotFound || code == connect.CodeInvalidArgument
}
