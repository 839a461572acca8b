package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newStuckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stuck",
		Short: "List the phones that do not sync, or not well, and why",
		Long: `List the phones that something stands in the way of: silent for a day, a queue that does not move, mutations in quarantine, a
wrong clock, numbers used twice. fieldsync explain DEVICE tells all about one. Takes a shell that is enrolled as a dispatcher
or an admin.`,
		Example: `  fieldsync stuck`,
		Args:    cobra.NoArgs,
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			p := newBoardPrinter(cmd, sheet{})
			if err := p.write(p.tr("MÁY", "DEVICE"), p.tr("NGƯỜI", "MEMBER"), p.tr("PHẠM VI", "SCOPE"), p.tr("THẤY LẦN CUỐI", "LAST SEEN"), p.tr("CHƯA GỬI", "UNSENT"), p.tr("VƯỚNG", "OBSTACLES")); err != nil {
				return err
			}
			for request := (&fieldsyncv1.ListStuckDevicesRequest{Limit: 500}); ; {
				resp, err := o.support().ListStuckDevices(cmd.Context(), request)
				if err != nil {
					return err
				}
				for _, d := range resp.GetDevices() {
					var why []string
					for _, obstacle := range d.GetObstacles() {
						why = append(why, p.sentence(obstacle.GetMessage()))
					}
					if err := p.write(d.GetDeviceId(), d.GetMemberId(), d.GetScope(), when(d.GetLastSeenAt()),
						strconv.FormatUint(uint64(d.GetQueue().GetMutations()), 10), strings.Join(why, " ")); err != nil {
						return err
					}
				}
				if request.PageToken = resp.GetNextToken(); request.GetPageToken() == "" {
					return p.flush()
				}
			}
		})
	}
	return cmd
}
