package main

import (
	"fmt"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newHintsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hints TICKET-OR-TASK",
		Short: "Tell what is worth knowing about a ticket before a crew is sent",
		Long: `Tell what is worth knowing about a ticket before a crew is sent: open tickets within 200 m that may be the same (by distance, kind,
time and words), visits of the last 90 days that found nothing there, and how many other reports the same telephone number made in a
year and what became of them. It is advice: nothing is decided by it, and nobody is named. The argument is a ticket's id, the
hotline's own id of it, or the id of its task. Takes a shell that is enrolled as a dispatcher or an admin.`,
		Example: `  fieldsync hints 1022-2026-00017`,
		Args:    cobra.ExactArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			ctx, out, lang := cmd.Context(), cmd.OutOrStdout(), language(cmd)
			resp, err := o.assignments().GetHints(ctx, &fieldsyncv1.GetHintsRequest{TicketId: args[0]})
			if err != nil && mayBeAnotherID(err) {
				ticket, findErr := ticketOf(ctx, o, args[0])
				if findErr != nil {
					return findErr
				}
				resp, err = o.assignments().GetHints(ctx, &fieldsyncv1.GetHintsRequest{TicketId: ticket.GetId()})
			}
			if err != nil {
				return err
			}
			for _, hint := range resp.GetHints() {
				said := hint.GetFinding().GetSentence()
				fmt.Fprintf(out, "%-18s  %s\n", hint.GetFinding().GetCode(), sentence(said.GetVi(), said.GetEn(), lang))
			}
			if len(resp.GetHints()) == 0 {
				fmt.Fprintln(out, sentence("Không có gì đáng lưu ý.", "Nothing is worth knowing.", lang))
			}
			if resp.GetPartial() {
				fmt.Fprintln(out, sentence("Còn nhiều phiếu khác: chỉ xét các phiếu mới nhất.", "There is more: only the newest tickets were looked at.", lang))
			}
			return nil
		})
	}
	return cmd
}
