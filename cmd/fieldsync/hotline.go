package main

import (
	"fmt"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// newHotlineCommand is what the hotline's own people ask of the server.
func newHotlineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hotline",
		Short: "Compare the hotline's list with the server's, and take tickets back",
		Example: `  fieldsync hotline reconcile --profile ./hotline tickets.csv
  fieldsync hotline withdraw --profile ./hotline 1022-2026-00042 "Người dân báo đã xong"`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newReconcileCommand(profile), newWithdrawCommand(profile))
	return cmd
}

func newWithdrawCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "withdraw TICKET REASON",
		Short: "Take a ticket back, by the hotline's id",
		Long: `Take a ticket back. Its task is called off and leaves the crew's phones with the next sync; what a crew does offline meanwhile is
kept for review. What a crew has completed already stays as it is.`,
		Example: `  fieldsync hotline withdraw 1022-2026-00042 "Người dân báo đã xong"`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				got, err := o.hotline().WithdrawTickets(cmd.Context(), &fieldsyncv1.WithdrawTicketsRequest{
					Tickets: []*fieldsyncv1.WithdrawTicketsRequest_Withdrawal{{HotlineId: args[0], Reason: args[1]}},
				})
				if err != nil {
					return err
				}
				said := map[fieldsyncv1.WithdrawResult]string{
					fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_WITHDRAWN: sentence("đã rút", "withdrawn", language(cmd)),
					fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_UNCHANGED: sentence("đã rút từ trước", "withdrawn before", language(cmd)),
					fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_TOO_LATE: sentence("công việc đã kết thúc từ trước, giữ nguyên",
						"its task had ended already, and stays as it is", language(cmd)),
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], said[got.GetResults()[0]])
				return err
			})
		},
	}
}
