package main

import (
	"fmt"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func newReopenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reopen TICKET-OR-TASK REASON",
		Short: "Open a task again that a crew has completed",
		Long: `Open a task again that a crew has completed, because the work is not done after all. The completion stays in the proof log, where
a new leaf takes it back; the hotline's ticket is open again, and the task waits for a crew (fieldsync assign). The reason stays in
the log for good: no citizen's name. Takes a shell that is enrolled as a dispatcher, a unit's head or an admin.`,
		Example: `  fieldsync reopen 1022-2026-00017 "cây vẫn còn chắn nửa đường"`,
		Args:    cobra.ExactArgs(2),
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			got, err := o.dispatch().GetTask(cmd.Context(), &fieldsyncv1.GetTaskRequest{TaskId: args[0]})
			if err != nil && mayBeAnotherID(err) { // A ticket's; unlike taskOf this makes no task of it.
				ticket, ticketErr := ticketOf(cmd.Context(), o, args[0])
				if ticketErr != nil {
					return ticketErr
				}
				if ticket.GetTaskId() == "" {
					return fault.New(fault.NotFound, "task_unknown", "Phiếu này chưa thành công việc nào.", "No task was made of this ticket yet.")
				}
				got, err = o.dispatch().GetTask(cmd.Context(), &fieldsyncv1.GetTaskRequest{TaskId: ticket.GetTaskId()})
			}
			if err != nil {
				return err
			}
			id := got.GetTask().GetId()
			completion := got.GetTask().GetCompletion().GetCompletionId()
			if completion == "" {
				completion = "none" // The server has the words for it.
			}
			if _, err := o.dispatch().ReopenTask(cmd.Context(), &fieldsyncv1.ReopenTaskRequest{
				TaskId: id, CompletionId: completion, Reason: args[1],
			}); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), sentence("%s đã mở lại (rút lại kết quả %s)\n", "%s is open again (the completion %s is taken back)\n", language(cmd)), id, completion)
			return nil
		})
	}
	return cmd
}
