package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func newAuditCommand() *cobra.Command {
	var request fieldsyncv1.ListAuditEntriesRequest
	var from, until string
	var most int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Tell who did what to whom, when, and from where",
		Long: `List the audit log, the newest first: every change that somebody made by the server's calls, every refusal, readings that go beyond the
work of the day, commands that were run on the server's own machine (such as restore), and tokens: those that systems asked for, and
those that were refused (API keys, too), like ones of a minute as one entry with their number. Without flags, all of it. What crews record stands in the
tasks themselves. --csv and --json are for export. Takes a shell that is enrolled as an admin or as the city's supervisor; to look is an
act of its own and enters the log.`,
		Example: `  fieldsync audit --ticket 1022-2026-00042
  fieldsync audit --member an --from 2026-11-01
  fieldsync audit --device 06fgxk2v9d3n8s5t1q7r --limit 20
  fieldsync audit --act 'fieldsync '              # commands on the server's machine
  fieldsync audit --act 'Authorization: Bearer'   # tokens that were refused
  fieldsync audit --act api_key                   # and keys of GeoReport clients
  fieldsync audit --act IdentityService/ --from 2026-11-01 --until 2026-12-01 --csv > november.csv`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&request.TicketId, "ticket", "", "of a ticket and its tasks: the hotline's id, fieldsync's, or a task's")
	flags.StringVar(&request.DeviceId, "device", "", "of a device: what it did, and what was done to it")
	flags.StringVar(&request.MemberId, "member", "", "of a member: what he or she did, and what was done to him or her")
	flags.StringVar(&request.Act, "act", "", "only acts that begin so, such as IdentityService/ or \"POST /open311/\"")
	flags.StringVar(&from, "from", "", "not before this: 2026-11-01, or 2026-11-01T08:00:00+07:00")
	flags.StringVar(&until, "until", "", "before this")
	flags.IntVar(&most, "limit", 0, "at most so many; 0: all")
	flags.BoolVar(&asJSON, "json", false, "print as JSON, an entry a line")
	sheet := sheetFlags(cmd, "json")
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if request.From, err = askedTime("--from", from); err != nil {
			return err
		}
		if request.Until, err = askedTime("--until", until); err != nil {
			return err
		}
		show, flush := auditJSON(cmd.OutOrStdout())
		if !asJSON {
			p := newBoardPrinter(cmd, *sheet)
			if err := p.write(p.tr("LÚC", "TIME"), p.tr("NGƯỜI", "MEMBER"), p.tr("MÁY", "DEVICE"), p.tr("TỪ", "FROM"), p.tr("VIỆC", "ACT"),
				p.tr("KẾT QUẢ", "OUTCOME"), p.tr("VỀ", "ABOUT")); err != nil {
				return err
			}
			show, flush = p.auditEntry, p.flush
		}
		return asOperator(*profile, func(o operator) error {
			for left := most; ; {
				request.Limit = 500
				if most > 0 {
					request.Limit = uint32(min(left, 500))
				}
				resp, err := o.audit().ListAuditEntries(cmd.Context(), &request)
				if err != nil {
					return err
				}
				for _, entry := range resp.GetEntries() {
					if err := show(entry); err != nil {
						return err
					}
				}
				left -= len(resp.GetEntries())
				if request.PageToken = resp.GetNextToken(); request.GetPageToken() == "" || most > 0 && left <= 0 {
					return flush()
				}
			}
		})
	}
	return cmd
}

func auditJSON(out io.Writer) (show func(*fieldsyncv1.AuditEntry) error, flush func() error) {
	return func(entry *fieldsyncv1.AuditEntry) error {
		line, err := protojson.Marshal(entry)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", line)
		}
		return err
	}, func() error { return nil }
}

func (p *boardPrinter) auditEntry(entry *fieldsyncv1.AuditEntry) error {
	var about []string
	for _, s := range entry.GetSubjects() {
		about = append(about, s.GetKind()+" "+s.GetId())
	}
	outcome := entry.GetOutcome()
	if n := entry.GetLeftOut(); n > 0 {
		outcome += fmt.Sprintf(p.tr(" (%d lần từ chối trước đó không được ghi)", " (%d refusals before were not written down)"), n)
	}
	if n := entry.GetCount(); n > 0 {
		outcome += fmt.Sprintf(p.tr(" (%d lần trong phút ấy)", " (%d times in that minute)"), n)
	}
	who := entry.GetMemberId()
	if user := entry.GetOsUser(); user != "" {
		who = p.tr("trên máy chủ: ", "on the server: ") + user
	}
	at := entry.GetAt().AsTime().In(calendar.Zone).Format(time.RFC3339)
	return p.write(at, who, entry.GetDeviceId(), entry.GetAddress(), entry.GetAct(), outcome, strings.Join(about, ", "))
}

// askedTime reads a day, which begins at Vietnam's midnight, or a time; nil where there is none.
func askedTime(flag, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // Absent is a normal answer here.
	}
	at, err := time.ParseInLocation(time.DateOnly, text, calendar.Zone)
	if err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "time_invalid",
			fmt.Sprintf("%s phải có dạng 2026-11-01 hoặc 2026-11-01T08:00:00+07:00.", flag),
			fmt.Sprintf("%s is of the form 2026-11-01 or 2026-11-01T08:00:00+07:00.", flag))
	}
	return timestamppb.New(at), nil
}
