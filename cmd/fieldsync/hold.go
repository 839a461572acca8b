package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newHoldCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Put a ticket's evidence under legal hold, lift it, list the holds",
		Long: `While a legal hold lasts, no photo of a ticket may go, those that arrive later included. Where photos are kept in an object
store with object lock, each original also carries the store's own legal hold. A TICKET is its id or the hotline's own.
Takes a shell that is enrolled as a dispatcher of the ticket's unit or as an admin.`,
		Example: `  fieldsync hold put 1022-2026-00042 --reason "Công văn 118/TA ngày 24/11/2026"
  fieldsync hold list
  fieldsync hold lift 1022-2026-00042 --reason "Bản án có hiệu lực"`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newHoldPut(profile), newHoldLift(profile), newHoldList(profile))
	return cmd
}

func newHoldPut(profile *string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "put TICKET", Short: "Put a ticket's evidence under legal hold", Args: cobra.ExactArgs(1),
		Example: `  fieldsync hold put 1022-2026-00042 --reason "Công văn 118/TA"`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (needed)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			resp, err := o.holds().PutLegalHold(cmd.Context(), &fieldsyncv1.PutLegalHoldRequest{TicketId: args[0], Reason: reason})
			if err == nil {
				hold := resp.GetHold()
				fmt.Fprintf(cmd.OutOrStdout(), sentence("Đã phong tỏa chứng cứ của phiếu %s: %d ảnh gốc.\n", "Ticket %s is under legal hold: %d originals.\n", language(cmd)),
					hold.GetHotlineId(), hold.GetOriginals())
			}
			return err
		})
	}
	return cmd
}

func newHoldLift(profile *string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "lift TICKET", Short: "End a legal hold; who, when and why stay on record", Args: cobra.ExactArgs(1),
		Example: `  fieldsync hold lift 1022-2026-00042 --reason "Bản án có hiệu lực"`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (needed)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			resp, err := o.holds().LiftLegalHold(cmd.Context(), &fieldsyncv1.LiftLegalHoldRequest{TicketId: args[0], Reason: reason})
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), sentence("Đã gỡ phong tỏa chứng cứ của phiếu %s.\n", "The legal hold on ticket %s is lifted.\n", language(cmd)), resp.GetHold().GetHotlineId())
			}
			return err
		})
	}
	return cmd
}

func newHoldList(profile *string) *cobra.Command {
	var lifted bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the legal holds", Args: cobra.NoArgs,
		Example: `  fieldsync hold list
  fieldsync hold list --lifted`,
	}
	cmd.Flags().BoolVar(&lifted, "lifted", false, "also those that were lifted")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(out, "TICKET\t1022\tPUT\tBY\tLIFTED\tORIGINALS\tPENDING\tREASON")
			for request := (&fieldsyncv1.ListLegalHoldsRequest{Lifted: lifted}); ; {
				page, err := o.holds().ListLegalHolds(cmd.Context(), request)
				if err != nil {
					return err
				}
				for _, hold := range page.GetHolds() {
					gone := "-"
					if hold.GetLiftedAt() != nil {
						gone = hold.GetLiftedAt().AsTime().In(calendar.Zone).Format(time.DateTime)
					}
					fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", hold.GetTicketId(), hold.GetHotlineId(),
						hold.GetPutAt().AsTime().In(calendar.Zone).Format(time.DateTime), hold.GetMemberId(), gone,
						hold.GetOriginals(), hold.GetPending(), hold.GetReason())
				}
				if request.PageToken = page.GetNextToken(); request.GetPageToken() == "" {
					return out.Flush()
				}
			}
		})
	}
	return cmd
}
