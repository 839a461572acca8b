package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

// operator is a shell that is enrolled as a device: the reference phone keeps its key and token, the RPCs that a phone has
// no method for go through its client.
type operator struct {
	*phone.Phone

	server string
}

func (o operator) dispatch() fieldsyncv1connect.DispatchServiceClient {
	return fieldsyncv1connect.NewDispatchServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

func (o operator) categories() fieldsyncv1connect.CategoryServiceClient {
	return fieldsyncv1connect.NewCategoryServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

func (o operator) crews() fieldsyncv1connect.CrewServiceClient {
	return fieldsyncv1connect.NewCrewServiceClient(o.Client(), o.server)
}

func (o operator) hotline() fieldsyncv1connect.HotlineServiceClient {
	return fieldsyncv1connect.NewHotlineServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

func (o operator) identity() fieldsyncv1connect.IdentityServiceClient {
	return fieldsyncv1connect.NewIdentityServiceClient(o.Client(), o.server)
}

func (o operator) support() fieldsyncv1connect.SupportServiceClient {
	return fieldsyncv1connect.NewSupportServiceClient(o.Client(), o.server)
}

func (o operator) holds() fieldsyncv1connect.HoldServiceClient {
	return fieldsyncv1connect.NewHoldServiceClient(o.Client(), o.server)
}

func (o operator) audit() fieldsyncv1connect.AuditServiceClient {
	return fieldsyncv1connect.NewAuditServiceClient(o.Client(), o.server)
}

func (o operator) privacy() fieldsyncv1connect.PrivacyServiceClient {
	return fieldsyncv1connect.NewPrivacyServiceClient(o.Client(), o.server)
}

func (o operator) operations() fieldsyncv1connect.OperationsServiceClient {
	return fieldsyncv1connect.NewOperationsServiceClient(o.Client(), o.server)
}

// profileFlag adds the flag that names the folder of the shell's identity.
func profileFlag(cmd *cobra.Command) *string {
	return cmd.PersistentFlags().String("profile", "", "folder with this shell's identity (default: fieldsync/operator in the user's configuration folder)")
}

func openProfile(profile string) (*phone.Phone, error) {
	if profile == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("no place for the profile, name one with --profile: %w", err)
		}
		profile = filepath.Join(base, "fieldsync", "operator")
	}
	return phone.Open(profile, phone.Options{AppVersion: "fieldsync"})
}

// asOperator runs f as the profile's device.
func asOperator(profile string, f func(operator) error) error {
	p, err := openProfile(profile)
	if err != nil {
		return err
	}
	server, err := p.Server()
	if err == nil {
		err = f(operator{p, server})
	}
	return errors.Join(err, p.Close())
}

func newEnrolCommand() *cobra.Command {
	var server, code, name string
	cmd := &cobra.Command{
		Use:   "enrol [QR-TEXT]",
		Short: "Enrol this shell as a device of an admin, a dispatcher or the hotline",
		Example: `  fieldsync enrol --server http://127.0.0.1:8022 --code K7QD-2MXA-9RTC
  fieldsync enrol 'fieldsync://enrol?code=K7QD-2MXA-9RTC&server=http%3A%2F%2F127.0.0.1%3A8022'
  fieldsync enrol --profile ./hotline --server http://127.0.0.1:8022 --code K7QD-2MXA-9RTC`,
		Args: cobra.MaximumNArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.Flags().StringVar(&server, "server", "", "address of the server, where no QR code's text says it")
	cmd.Flags().StringVar(&code, "code", "", "one-time enrolment code, the same")
	cmd.Flags().StringVar(&name, "name", "shell", "what to call this device")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		with, err := enrolment(args, server, code)
		if err != nil {
			return err
		}
		p, err := openProfile(*profile)
		if err != nil {
			return err
		}
		err = p.Enrol(cmd.Context(), with.Server, with.Code, name)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), sentence("Đã đăng ký.", "Enrolled.", language(cmd)))
		}
		return errors.Join(err, p.Close())
	}
	return cmd
}

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print an access token of this shell, for curl",
		Example: `  curl -H "Authorization: Bearer $(fieldsync token)" -H 'Content-Type: application/json' \
    -d '{}' http://127.0.0.1:8022/fieldsync.v1.IdentityService/WhoAmI`,
		Args: cobra.NoArgs,
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			token, err := o.Token(cmd.Context())
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), token)
			}
			return err
		})
	}
	return cmd
}

// roleNames are the roles as the command line calls them.
const roleNames = "crew, crew-lead, dispatcher, unit-head, city-supervisor, hotline, admin"

func newAdminCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Keep units, crews, members and devices",
		Example: `  fieldsync admin unit binh-thanh "Phường Bình Thạnh"
  fieldsync admin crew to-1 binh-thanh "Tổ 1"
  fieldsync admin member an crew to-1 "Nguyễn Văn An"
  fieldsync admin member chi dispatcher city "Lê Thị Chi"
  fieldsync admin member he-thong-1022 hotline "" "Hệ thống 1022"
  fieldsync admin code an
  fieldsync admin api-key he-thong-1022
  fieldsync admin revoke DEVICE`,
	}
	profile := profileFlag(cmd)
	// run makes the RunE of a subcommand that prints what f returns.
	run := func(f func(cmd *cobra.Command, o operator, args []string) (string, error)) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				line, err := f(cmd, o, args)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
				return err
			})
		}
	}
	cmd.AddCommand(
		newUnitCommand(run),
		newCrewCommand(run),
		&cobra.Command{
			Use: "member ID ROLE CREW-OR-UNIT NAME", Args: cobra.ExactArgs(4),
			Short: "Create or change a member",
			Long: `Create or change a member. ROLE is one of: ` + roleNames + `.
CREW-OR-UNIT is the crew of a crew member or crew lead, the unit of a dispatcher or unit head ("city": all units), and "" for
the others. 'fieldsync auth matrix' prints what each role may do.`,
			Example: `  fieldsync admin member an crew to-1 "Nguyễn Văn An"
  fieldsync admin member chi dispatcher city "Lê Thị Chi"
  fieldsync admin member dung unit-head binh-thanh "Phạm Văn Dũng"
  fieldsync admin member he-thong-1022 hotline "" "Hệ thống 1022"`,
			RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
				role := fieldsyncv1.Role(fieldsyncv1.Role_value["ROLE_"+strings.ToUpper(strings.ReplaceAll(args[1], "-", "_"))])
				if role == fieldsyncv1.Role_ROLE_UNSPECIFIED {
					return "", fault.New(fault.Invalid, "role_unknown",
						fmt.Sprintf("Vai trò %q không có: hãy chọn một trong %s.", args[1], roleNames),
						fmt.Sprintf("There is no role %q: choose one of %s.", args[1], roleNames))
				}
				member := &fieldsyncv1.Member{Id: args[0], Role: role, Name: args[3]}
				if role == fieldsyncv1.Role_ROLE_DISPATCHER || role == fieldsyncv1.Role_ROLE_UNIT_HEAD {
					member.UnitId = args[2]
				} else {
					member.CrewId = args[2]
				}
				_, err := o.dispatch().PutMember(cmd.Context(), &fieldsyncv1.PutMemberRequest{Member: member})
				return args[0], err
			}),
		},
		newCodeCommand(profile),
		newDeviceCommand(profile, run),
		newClientCommand(run),
		newAPIKeyCommand(run), newCategoriesCommand(run), newCrewWorkCommand(run), newCalendarCommand(run),
		newAreasCommand(run), newSuccessionsCommand(run), newRerouteCommand(run),
		&cobra.Command{
			Use: "revoke DEVICE", Short: "Revoke a device: its next call is refused", Args: cobra.ExactArgs(1),
			Example: `  fieldsync admin revoke 01k9zt0m4vq3`,
			RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
				_, err := o.identity().RevokeDevice(cmd.Context(), &fieldsyncv1.RevokeDeviceRequest{DeviceId: args[0]})
				return args[0], err
			}),
		},
	)
	return cmd
}

func newAPIKeyCommand(run func(func(*cobra.Command, operator, []string) (string, error)) func(*cobra.Command, []string) error) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use: "api-key MEMBER", Args: cobra.ExactArgs(1),
		Short: "Issue a key for a system that speaks GeoReport v2, as a member of the role hotline; it is shown once",
		Example: `  fieldsync admin api-key he-thong-1022
  fieldsync admin api-key --replace he-thong-1022  # the former ones are void`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			resp, err := o.identity().IssueApiKey(cmd.Context(), &fieldsyncv1.IssueApiKeyRequest{MemberId: args[0], Replace: replace})
			return resp.GetApiKey(), err
		}),
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "make the member's former keys void")
	return cmd
}
