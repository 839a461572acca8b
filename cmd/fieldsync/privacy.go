package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// citizenFlags say of whom.
type citizenFlags struct{ phone, ticket string }

func (f *citizenFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.phone, "phone", "", "the citizen's phone number; - reads it from the standard input, where no list of processes shows it")
	cmd.Flags().StringVar(&f.ticket, "ticket", "", "one ticket of the citizen: the hotline's id, or fieldsync's")
	cmd.MarkFlagsOneRequired("phone", "ticket")
	cmd.MarkFlagsMutuallyExclusive("phone", "ticket")
}

func (f *citizenFlags) citizen(cmd *cobra.Command) (*fieldsyncv1.Citizen, error) {
	if f.ticket != "" {
		return &fieldsyncv1.Citizen{By: &fieldsyncv1.Citizen_TicketId{TicketId: f.ticket}}, nil
	}
	phone := f.phone
	if phone == "-" {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if phone = strings.TrimSpace(line); phone == "" {
			return nil, fault.New(fault.Invalid, "phone_missing",
				fmt.Sprintf("Không đọc được số điện thoại từ đầu vào: %v.", err), fmt.Sprintf("No phone number comes from the standard input: %v.", err))
		}
	}
	return &fieldsyncv1.Citizen{By: &fieldsyncv1.Citizen_Phone{Phone: phone}}, nil
}

func newPrivacyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "privacy",
		Short: "Tell a citizen what is held of him or her, and erase it",
		Long: `What a citizen may ask of the city. docs/privacy.md says which personal data lies where, and until when. Takes a shell that is enrolled
as an admin; both commands enter the audit log, by the tickets' ids.`,
		Example: `  fieldsync privacy export --phone 0901234567 > citizen.jsonl
  fieldsync privacy erase --ticket 1022-2026-00042 --texts
  echo 0901234567 | fieldsync privacy erase --phone - --yes`,
	}
	cmd.AddCommand(newPrivacyExportCommand(), newPrivacyEraseCommand())
	return cmd
}

func newPrivacyExportCommand() *cobra.Command {
	var of citizenFlags
	cmd := &cobra.Command{
		Use: "export", Short: "Print what is held of a citizen, as JSON, a ticket a line", Args: cobra.NoArgs,
		Example: `  fieldsync privacy export --phone "090 123 45 67" > citizen.jsonl`,
	}
	of.add(cmd)
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		citizen, err := of.citizen(cmd)
		if err != nil {
			return err
		}
		return asOperator(*profile, func(o operator) error {
			held, err := o.privacy().ExportCitizen(cmd.Context(), &fieldsyncv1.ExportCitizenRequest{Citizen: citizen})
			if err != nil {
				return err
			}
			for _, ticket := range held.GetTickets() {
				line, err := protojson.Marshal(ticket)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
			}
			if held.GetMore() {
				fmt.Fprintln(cmd.ErrOrStderr(), sentence("Còn nhiều phiếu hơn; đây là các phiếu cũ nhất.", "There are more tickets; these are the oldest.", language(cmd)))
			}
			return nil
		})
	}
	return cmd
}

func newPrivacyEraseCommand() *cobra.Command {
	var of citizenFlags
	var texts, yes bool
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Erase a citizen's name and phone number, and with --texts what he or she wrote",
		Long: `Erase a citizen's name and phone number from all of his or her tickets, from their tasks, and from phones at their next sync; with
--texts, title and description, too. It can't be taken back. Ticket, place, photos, completion and proof stay, and receipts verify as
before. Without --yes it says what would be erased, and erases nothing.`,
		Args: cobra.NoArgs,
		Example: `  fieldsync privacy erase --phone 0901234567
  fieldsync privacy erase --phone 0901234567 --texts --yes`,
	}
	of.add(cmd)
	cmd.Flags().BoolVar(&texts, "texts", false, "also title and description")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		citizen, err := of.citizen(cmd)
		if err != nil {
			return err
		}
		say := func(vi, en string, args ...any) {
			fmt.Fprintf(cmd.OutOrStdout(), sentence(vi, en, language(cmd)), args...)
		}
		return asOperator(*profile, func(o operator) error {
			if !yes {
				held, err := o.privacy().ExportCitizen(cmd.Context(), &fieldsyncv1.ExportCitizenRequest{Citizen: citizen})
				if err != nil {
					return err
				}
				for _, ticket := range held.GetTickets() {
					fmt.Fprintln(cmd.OutOrStdout(), ticket.GetFacts().GetHotlineId())
				}
				say("Sẽ xóa dữ liệu của người báo trong %d phiếu trên. Không thể lấy lại; thêm --yes để thực hiện.\n",
					"The reporter would be erased from these %d tickets. It can't be taken back; add --yes to do it.\n", len(held.GetTickets()))
				return nil
			}
			erased, err := o.privacy().EraseCitizen(cmd.Context(), &fieldsyncv1.EraseCitizenRequest{Citizen: citizen, Texts: texts})
			if err != nil {
				return err
			}
			say("Đã xóa người báo khỏi %d phiếu.\n", "The reporter was erased from %d tickets.\n", len(erased.GetTicketIds()))
			if erased.GetMore() {
				say("Còn nhiều phiếu hơn: hãy chạy lại lệnh này.\n", "There are more tickets: run this again.\n")
			}
			return nil
		})
	}
	return cmd
}
