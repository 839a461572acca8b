package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// printing makes the RunE of a subcommand that prints what f returns.
type printing func(func(*cobra.Command, operator, []string) (string, error)) func(*cobra.Command, []string) error

func newDeviceCommand(profile *string, run printing) *cobra.Command {
	cmd := &cobra.Command{
		Use: "device", Short: "List devices, and revoke those that are lost or out of use",
		Example: `  fieldsync admin device list
  fieldsync admin device lost 06h0jd5zkqprz59vgx30`,
	}
	revoke := func(use, short string, reason fieldsyncv1.RevocationReason) *cobra.Command {
		return &cobra.Command{
			Use: use + " DEVICE", Short: short, Args: cobra.ExactArgs(1),
			Long: short + `. Its next call is refused, open streams and uploads end within a second, it erases the tasks that it holds, and
what it still sends is quarantined. Its key stays void for good: a phone that is found again enrols with a new one.`,
			Example: "  fieldsync admin device " + use + " 06h0jd5zkqprz59vgx30",
			RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
				_, err := o.identity().RevokeDevice(cmd.Context(), &fieldsyncv1.RevokeDeviceRequest{DeviceId: args[0], Reason: reason})
				return args[0], err
			}),
		}
	}
	cmd.AddCommand(
		revoke("revoke", "Revoke a device that is out of use", fieldsyncv1.RevocationReason_REVOCATION_REASON_RETIRED),
		revoke("lost", "Revoke a device that is lost or stolen", fieldsyncv1.RevocationReason_REVOCATION_REASON_LOST),
		&cobra.Command{
			Use: "list", Short: "List the devices whose members you may see", Args: cobra.NoArgs,
			Example: `  fieldsync admin device list`,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return asOperator(*profile, func(o operator) error { return listDevices(cmd, o, cmd.OutOrStdout()) })
			},
		},
	)
	return group(cmd)
}

func listDevices(cmd *cobra.Command, o operator, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DEVICE\tMEMBER\tNAME\tLAST SEEN\tSTATE")
	page := &fieldsyncv1.Page{}
	for {
		answer, err := o.identity().ListDevices(cmd.Context(), &fieldsyncv1.ListDevicesRequest{Page: page})
		if err != nil {
			return err
		}
		for _, d := range answer.GetDevices() {
			state := "good until " + d.GetGrantUntil().AsTime().In(calendar.Zone).Format(time.DateOnly)
			if d.GetRevokedAt() != nil {
				state = "revoked " + d.GetRevokedAt().AsTime().In(calendar.Zone).Format(time.RFC3339) + " by " + d.GetRevokedBy()
				if d.GetRevocationReason() == fieldsyncv1.RevocationReason_REVOCATION_REASON_LOST {
					state += ", lost"
				}
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", d.GetId(), d.GetMemberId(), d.GetName(), d.GetLastSeenAt().AsTime().In(calendar.Zone).Format(time.RFC3339), state)
		}
		if page.Token = answer.GetNextToken(); page.GetToken() == "" {
			return table.Flush()
		}
	}
}

func newClientCommand(run printing) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "client MEMBER PUBLIC-KEY.pem", Args: cobra.ExactArgs(2),
		Short: "Register a system with client credentials (private_key_jwt), as a member of the role hotline; prints its client_id",
		Example: `  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem && openssl pkey -in key.pem -pubout -out pub.pem
  fieldsync admin client he-thong-1022 pub.pem`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			text, err := os.ReadFile(args[1])
			if err != nil {
				return "", err
			}
			block, _ := pem.Decode(text)
			if block == nil || block.Type != "PUBLIC KEY" {
				return "", fault.New(fault.Invalid, "client_key_invalid",
					"Tệp phải là khóa công khai PEM (BEGIN PUBLIC KEY).", "The file must be a public key in PEM (BEGIN PUBLIC KEY).")
			}
			answer, err := o.identity().RegisterClient(cmd.Context(), &fieldsyncv1.RegisterClientRequest{MemberId: args[0], Name: name, PublicKey: block.Bytes})
			return answer.GetClientId(), err
		}),
	}
	cmd.Flags().StringVar(&name, "name", "client", "what to call it")
	return cmd
}
