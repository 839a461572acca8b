package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

func (o operator) board() fieldsyncv1connect.BoardServiceClient {
	return fieldsyncv1connect.NewBoardServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

func (o operator) assignments() fieldsyncv1connect.AssignmentServiceClient {
	return fieldsyncv1connect.NewAssignmentServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

func newBoardCommand() *cobra.Command {
	var states, urgencies []string
	var order string
	var watch bool
	filter := &fieldsyncv1.BoardFilter{}
	cmd := &cobra.Command{
		Use:   "board [WORDS...]",
		Short: "Show the tasks under way, filtered and searched",
		Long: `Show the tasks of the unit (of all units for those who see all), the most pressing first. Words are looked for in title,
address, description, category and the hotline's id; without diacritics they find both ("cay do" finds "cây đổ"). Takes a shell that is
enrolled as a dispatcher or an admin.`,
		Example: `  fieldsync board
  fieldsync board cay do --state assigned --unseen
  fieldsync board --overdue --csv > overdue.csv
  fieldsync board --watch --crew to-1`,
	}
	profile := profileFlag(cmd)
	stateNames, urgencyNames := enumFlags(fieldsyncv1.TaskState_name, "TASK_STATE_"), enumFlags(fieldsyncv1.Urgency_name, "URGENCY_")
	orderNames := enumFlags(fieldsyncv1.BoardOrder_name, "BOARD_ORDER_")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only in these states: "+strings.Join(stateNames.names(), ", "))
	cmd.Flags().StringSliceVar(&urgencies, "urgency", nil, "only of these urgencies: "+strings.Join(urgencyNames.names(), ", "))
	cmd.Flags().StringSliceVar(&filter.UnitIds, "unit", nil, "only of these units")
	cmd.Flags().StringSliceVar(&filter.CrewIds, "crew", nil, "only with these crews")
	cmd.Flags().StringSliceVar(&filter.Categories, "category", nil, "only of these categories")
	cmd.Flags().BoolVar(&filter.Overdue, "overdue", false, "only what is due and not done")
	cmd.Flags().BoolVar(&filter.Unseen, "unseen", false, "only what a crew has and nobody of it has opened")
	cmd.Flags().BoolVar(&filter.Review, "review", false, "only what somebody should look at")
	cmd.Flags().StringVar(&order, "order", "due", "by "+strings.Join(orderNames.names(), ", "))
	cmd.Flags().BoolVar(&watch, "watch", false, "go on and print each change, until Ctrl-C")
	sheet := sheetFlags(cmd, "watch")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter.Text = strings.Join(args, " ")
		for _, s := range states {
			n, err := stateNames.parse("state", s)
			if err != nil {
				return err
			}
			filter.States = append(filter.States, fieldsyncv1.TaskState(n))
		}
		for _, u := range urgencies {
			n, err := urgencyNames.parse("urgency", u)
			if err != nil {
				return err
			}
			filter.Urgencies = append(filter.Urgencies, fieldsyncv1.Urgency(n))
		}
		by, err := orderNames.parse("order", order)
		if err != nil {
			return err
		}
		p, shown := newBoardPrinter(cmd, *sheet), &fieldsyncv1.ListBoardRequest{Filter: filter, Order: fieldsyncv1.BoardOrder(by), PageSize: 500}
		if watch {
			return p.watch(cmd, *profile, shown)
		}
		return asOperator(*profile, func(o operator) error { return p.list(cmd.Context(), o, shown) })
	}
	return cmd
}

// boardPrinter prints rows of the board as a table or as CSV.
type boardPrinter struct {
	voice

	write func(cells ...string) error
	flush func() error
}

// sheet says whether rows go to a spreadsheet, and to which.
type sheet struct{ csv, excel bool }

func (s sheet) is() bool { return s.csv || s.excel }

// sheetFlags adds them to a command, as an alternative to others of its flags.
func sheetFlags(cmd *cobra.Command, others ...string) *sheet {
	s := &sheet{}
	cmd.Flags().BoolVar(&s.csv, "csv", false, "print all rows as CSV (RFC 4180, UTF-8)")
	cmd.Flags().BoolVar(&s.excel, "excel", false, "as --csv with a byte order mark, without which Excel misreads Vietnamese")
	cmd.MarkFlagsMutuallyExclusive(append(others, "csv", "excel")...)
	return s
}

func newBoardPrinter(cmd *cobra.Command, sheet sheet) *boardPrinter {
	p := &boardPrinter{voice: voice{out: cmd.OutOrStdout(), english: language(cmd) == "en"}}
	if sheet.is() {
		w := csv.NewWriter(p.out)
		mark := ""
		if sheet.excel {
			mark = "\uFEFF"
		}
		p.write = func(cells ...string) error {
			for i, text := range cells {
				cells[i] = sheetCell(text)
			}
			cells[0], mark = mark+cells[0], "" // In front of the first row.
			return w.Write(cells)
		}
		p.flush = func() error { w.Flush(); return w.Error() }
		return p
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	p.write = func(cells ...string) error {
		for i, text := range cells {
			cells[i] = cell(text)
		}
		_, err := fmt.Fprintln(w, strings.Join(cells, "\t"))
		return err
	}
	p.flush = w.Flush
	return p
}

func (p *boardPrinter) list(ctx context.Context, o operator, shown *fieldsyncv1.ListBoardRequest) error {
	if err := p.write(p.tr("VIỆC", "TASK"), "1022", p.tr("TRẠNG THÁI", "STATE"), p.tr("TỔ", "CREW"), p.tr("HẠN", "DUE"), p.tr("LƯU Ý", "FLAGS"),
		p.tr("TIÊU ĐỀ", "TITLE"), p.tr("ĐỊA CHỈ", "ADDRESS")); err != nil {
		return err
	}
	for shown.PageToken = ""; ; {
		resp, err := o.board().ListBoard(ctx, shown)
		if err != nil {
			return err
		}
		for _, r := range resp.GetRows() {
			if err := p.row(r); err != nil {
				return err
			}
		}
		if shown.PageToken = resp.GetNextToken(); shown.GetPageToken() == "" {
			return p.flush()
		}
	}
}

func (p *boardPrinter) row(r *fieldsyncv1.BoardRow) error {
	return p.write(r.GetTaskId(), r.GetHotlineId(), p.state(r.GetState()), r.GetCrewId(), vietnamese(r.GetDueAt()), p.flags(r), r.GetTitle(), r.GetAddress())
}

func (p *boardPrinter) flags(r *fieldsyncv1.BoardRow) string {
	var flags []string
	for _, flag := range []struct {
		is     bool
		vi, en string
	}{
		{r.GetUrgency() == fieldsyncv1.Urgency_URGENCY_HIGH, "gấp", "urgent"},
		{r.GetOverdue(), "quá hạn", "overdue"},
		{r.GetUnseen(), "chưa xem", "unseen"},
		{r.GetReview(), "cần xem lại", "review"},
		{r.GetPhotosOnPhones() > 0, strconv.Itoa(int(r.GetPhotosOnPhones())) + " ảnh còn trên máy", strconv.Itoa(int(r.GetPhotosOnPhones())) + " photos on phones"},
	} {
		if flag.is {
			flags = append(flags, p.tr(flag.vi, flag.en))
		}
	}
	return strings.Join(flags, ", ")
}

func newReportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report [MONTH]",
		Short: "What each unit received and did in a month",
		Long: `What each unit received and did in a month. A month is named after that in whose course it ends: 2026-11 goes from the 25th
of October at noon to the 25th of November at noon, Vietnam's time (configurable: report.day, report.hour). Without a month: the one that
is running. Takes a shell that is enrolled as a dispatcher or an admin.`,
		Example: `  fieldsync report
  fieldsync report 2026-11 --csv > 2026-11.csv
  fieldsync report 2026-11 --excel > 2026-11.csv`,
		Args: cobra.MaximumNArgs(1),
	}
	profile := profileFlag(cmd)
	sheet := sheetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &fieldsyncv1.GetMonthlyReportRequest{Month: strings.Join(args, "")}
		return asOperator(*profile, func(o operator) error {
			resp, err := o.board().GetMonthlyReport(cmd.Context(), request)
			if err != nil {
				return err
			}
			p := newBoardPrinter(cmd, *sheet)
			if !sheet.is() {
				p.printf("Từ %s đến %s\n", "From %s until %s\n", vietnamese(resp.GetFrom()), vietnamese(resp.GetUntil()))
			}
			return p.report(resp.GetUnits())
		})
	}
	return cmd
}

func (p *boardPrinter) report(units []*fieldsyncv1.UnitReport) error {
	if err := p.write(p.tr("ĐƠN VỊ", "UNIT"), p.tr("TÊN", "NAME"), p.tr("TIẾP NHẬN", "RECEIVED"), p.tr("CÒN MỞ", "STILL OPEN"), p.tr("XONG", "DONE"),
		p.tr("ĐÚNG HẠN", "IN TIME"), p.tr("TRỄ", "LATE"), p.tr("KHÔNG PHÁT HIỆN", "NOTHING FOUND"), p.tr("HỦY", "CANCELLED"),
		p.tr("TRUNG VỊ (GIỜ)", "MEDIAN (HOURS)")); err != nil {
		return err
	}
	for _, u := range units {
		cells := []string{u.GetUnitId(), u.GetUnitName()}
		for _, n := range []uint32{u.GetReceived(), u.GetReceivedOpen(), u.GetDone(), u.GetDoneInTime(), u.GetDoneLate(), u.GetNothingFound(), u.GetCancelled()} {
			cells = append(cells, strconv.FormatUint(uint64(n), 10))
		}
		median := "" // Nothing was done: there is none.
		if u.GetMedianHours() > 0 {
			median = strconv.FormatFloat(u.GetMedianHours(), 'f', 1, 64)
		}
		if err := p.write(append(cells, median)...); err != nil {
			return err
		}
	}
	return p.flush()
}

func newDeliveriesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliveries TICKET-OR-TASK",
		Short: "How far the newest order of a task has come on each phone",
		Long: `How far the newest order of a task has come on each phone that must hear of it: sent, delivered, synced, seen, accepted, with
the times at which the server heard of each. Takes a shell that is enrolled as a dispatcher or an admin.`,
		Example: `  fieldsync deliveries 1022-2026-00017`,
		Args:    cobra.ExactArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			task, err := taskOf(cmd.Context(), o, args[0])
			if err != nil {
				return err
			}
			resp, err := o.assignments().ListDeliveries(cmd.Context(), &fieldsyncv1.ListDeliveriesRequest{TaskId: task})
			if err != nil {
				return err
			}
			p := newBoardPrinter(cmd, sheet{})
			fmt.Fprintln(p.out, p.sentence(resp.GetSummary()))
			return p.deliveries(resp.GetDeliveries())
		})
	}
	return cmd
}

func (p *boardPrinter) deliveries(all []*fieldsyncv1.Delivery) error {
	if len(all) == 0 {
		return nil
	}
	if err := p.write(p.tr("TỔ", "CREW"), p.tr("NGƯỜI", "MEMBER"), p.tr("MÁY", "DEVICE"), p.tr("LỆNH", "ORDER"), p.tr("GỬI", "SENT"), p.tr("ĐẾN MÁY", "DELIVERED"),
		p.tr("ĐÃ VỀ", "SYNCED"), p.tr("ĐÃ XEM", "SEEN"), p.tr("ĐÃ NHẬN", "ACCEPTED"), p.tr("LỖI ĐẨY", "PUSH FAILED")); err != nil {
		return err
	}
	for _, d := range all {
		order := p.tr("giao", "assigned")
		if d.GetRecall() {
			order = p.tr("thu hồi", "recalled")
		}
		cells := []string{d.GetCrewId(), d.GetMemberId(), d.GetDeviceId(), order}
		for _, at := range []*timestamppb.Timestamp{d.GetSentAt(), d.GetDeliveredAt(), d.GetSyncedAt(), d.GetSeenAt(), d.GetAcceptedAt()} {
			cells = append(cells, clockTime(at))
		}
		if err := p.write(append(cells, p.pushFailure(d.GetFailure()))...); err != nil {
			return err
		}
	}
	return p.flush()
}

// pushFailure says why no hint has reached a phone; to English readers the API's codes say it.
func (p *boardPrinter) pushFailure(code string) string {
	vi := map[string]string{
		"no_address": "máy chưa có địa chỉ đẩy", "unregistered": "địa chỉ đẩy đã mất", "rejected": "dịch vụ đẩy từ chối", "expired": "thử mãi không được",
	}[code]
	if vi == "" {
		vi = code
	}
	return p.tr(vi, code)
}

// clockTime is a time of the day with its seconds, in Vietnam; "-" for none.
func clockTime(at *timestamppb.Timestamp) string {
	if at == nil {
		return "-"
	}
	return at.AsTime().In(calendar.Zone).Format(time.TimeOnly)
}
