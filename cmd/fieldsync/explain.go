package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newExplainCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain DEVICE",
		Short: "Tell why a phone does not sync, or that it does",
		Long: `Tell all that the server knows of a device's sync: where its replica stands, what lies unsent on it, its last verdicts,
its clock, its token, what gives it its scope, and what stands in its way. Takes a shell that is enrolled as a dispatcher or
an admin.`,
		Example: `  fieldsync explain 06fgxk2v9d3n8s5t1q7r
  fieldsync explain --json 06fgxk2v9d3n8s5t1q7r`,
		Args: cobra.ExactArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			x, err := o.support().ExplainDevice(cmd.Context(), &fieldsyncv1.ExplainDeviceRequest{DeviceId: args[0]})
			if err != nil {
				return err
			}
			if asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), protojson.Format(x))
				return nil
			}
			printExplanation(cmd.OutOrStdout(), x, language(cmd))
			return nil
		})
	}
	return cmd
}

func printExplanation(w io.Writer, x *fieldsyncv1.ExplainDeviceResponse, lang string) {
	row := func(vi, en, format string, args ...any) {
		fmt.Fprintf(w, "%-22s %s\n", sentence(vi, en, lang), fmt.Sprintf(format, args...))
	}
	row("Thiết bị", "Device", "%s (%s)", x.GetDeviceId(), x.GetDeviceName())
	row("Phạm vi", "Scope", "%s: %s", x.GetScope(), sentence(x.GetGrant().GetVi(), x.GetGrant().GetEn(), lang))
	row("Thấy lần cuối", "Last seen", "%s", moment(x.GetLastSeenAt()))
	row("Mã truy cập đến", "Token good until", "%s", moment(x.GetTokenExpiresAt()))
	row("Phiên bản", "App version", "%s", x.GetAppVersion())
	row("Lần cài đặt", "Install epoch", "%d, %s %d", x.GetInstallEpoch(), sentence("số cuối", "last number", lang), x.GetLastNumber())
	row("Con trỏ / máy chủ", "Cursor / server", "%d / %d", x.GetCursorSequence(), x.GetHead().GetSequence())
	row("Chưa gửi", "Unsent", sentence("%d thao tác (cũ nhất %s), %d ảnh", "%d mutations (oldest %s), %d photos", lang),
		x.GetQueue().GetMutations(), moment(x.GetQueue().GetOldest()), x.GetQueue().GetPhotos())
	if x.GetClockSkew() != nil {
		row("Lệch đồng hồ", "Clock skew", "%s", x.GetClockSkew().AsDuration().Round(time.Second))
	}
	row("Cách ly", "In quarantine", "%d", x.GetQuarantined())
	for _, v := range x.GetVerdicts() {
		row("Phán quyết", "Verdict", "%d %s: %s", v.GetNumber(), v.GetCode(), sentence(v.GetMessage().GetVi(), v.GetMessage().GetEn(), lang))
	}
	if len(x.GetObstacles()) == 0 {
		fmt.Fprintln(w, sentence("Không có gì cản trở.", "Nothing stands in its way.", lang))
	}
	for _, obstacle := range x.GetObstacles() {
		fmt.Fprintf(w, "! %s: %s\n", obstacle.GetCode(), sentence(obstacle.GetMessage().GetVi(), obstacle.GetMessage().GetEn(), lang))
	}
}

// moment is a time for people, and a dash where there is none.
func moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return "–"
	}
	return t.AsTime().In(calendar.Zone).Format(time.DateTime)
}
