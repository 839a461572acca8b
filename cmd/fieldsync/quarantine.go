package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newQuarantineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "Look into mutations that were kept unapplied, release or discard them",
		Long: `Mutations that break a rule, that a server does not understand, or whose number was used for something else are kept
unapplied. A dispatcher of the unit looks into them and lets them take effect in the name of whoever recorded them, as
recorded or mended, or discards them with a reason.`,
		Example: `  fieldsync quarantine list
  fieldsync quarantine release ID --reason "máy được khôi phục, nội dung đúng"
  fieldsync quarantine release ID --mended note.json --reason "rút gọn"
  fieldsync quarantine discard ID --reason "gửi trùng"`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newQuarantineList(profile), newQuarantineRelease(profile), newQuarantineDiscard(profile))
	return cmd
}

func newQuarantineList(profile *string) *cobra.Command {
	var device string
	cmd := &cobra.Command{
		Use: "list", Short: "Print the mutations in quarantine as JSON lines", Args: cobra.NoArgs,
		Example: "  fieldsync quarantine list --device 06fgxk2v9d3n8s5t1q7r",
	}
	cmd.Flags().StringVar(&device, "device", "", "only those of this device")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			for request := (&fieldsyncv1.ListQuarantinedRequest{DeviceId: device}); ; {
				page, err := o.support().ListQuarantined(cmd.Context(), request)
				if err != nil {
					return err
				}
				for _, q := range page.GetMutations() {
					line, err := protojson.Marshal(q)
					if err != nil {
						return err
					}
					fmt.Fprintln(cmd.OutOrStdout(), string(line))
				}
				if request.PageToken = page.GetNextToken(); request.GetPageToken() == "" {
					return nil
				}
			}
		})
	}
	return cmd
}

func newQuarantineRelease(profile *string) *cobra.Command {
	var reason, mended string
	cmd := &cobra.Command{
		Use: "release ID", Short: "Let a mutation take effect, as recorded or mended", Args: cobra.ExactArgs(1),
		Example: `  fieldsync quarantine release ID --reason "nội dung đúng"`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (needed)")
	cmd.Flags().StringVar(&mended, "mended", "", "file with the mutation that is to take effect instead, JSON as list prints it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &fieldsyncv1.ReleaseQuarantinedRequest{Id: args[0], Reason: reason}
		if mended != "" {
			text, err := os.ReadFile(mended)
			if err != nil {
				return err
			}
			request.Mended = &fieldsyncv1.Mutation{}
			if err := protojson.Unmarshal(text, request.GetMended()); err != nil {
				return fmt.Errorf("--mended: %w", err)
			}
		}
		return asOperator(*profile, func(o operator) error {
			resp, err := o.support().ReleaseQuarantined(cmd.Context(), request)
			if err == nil {
				m := resp.GetVerdict().GetMessage()
				fmt.Fprintln(cmd.OutOrStdout(), sentence(m.GetVi(), m.GetEn(), language(cmd)))
			}
			return err
		})
	}
	return cmd
}

func newQuarantineDiscard(profile *string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "discard ID", Short: "Take a mutation out of the quarantine without effect", Args: cobra.ExactArgs(1),
		Example: `  fieldsync quarantine discard ID --reason "gửi trùng"`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (needed)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			_, err := o.support().DiscardQuarantined(cmd.Context(), &fieldsyncv1.DiscardQuarantinedRequest{Id: args[0], Reason: reason})
			return err
		})
	}
	return cmd
}
