package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	"github.com/cong1022/fieldsync/dispatch/rows"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

func (o operator) deadlines() fieldsyncv1connect.DeadlineServiceClient {
	return fieldsyncv1connect.NewDeadlineServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

func newDeadlineCommand() *cobra.Command {
	var asJSON, resume bool
	var until, reason string
	cmd := &cobra.Command{
		Use:   "deadline TICKET-OR-TASK",
		Short: "Explain a task's deadline, every day counted or skipped; pause it, or let it run again",
		Long: `Explain how a task's deadline comes about: its working days, the calendar's version, pauses, and every day with the reason
why it counts or not. Where the crew's account of when it was done differs from when the server heard of it, both readings are
shown.

Working days are counted from the day after the report to 24:00 of the last one (Civil Code 2015, articles 147 and 148), in
Vietnam's time. With --pause-until and --reason, approve that the clock stands still: from when the crew paused the task, or from
now, until the day given (to its end) or until work goes on; at most 90 days. Takes a shell that is enrolled as a dispatcher or an
admin.`,
		Example: `  fieldsync deadline 06h0jd5zkqprz59vgx30
  fieldsync deadline 06h0jd5zkqprz59vgx30 --pause-until 2026-12-04 --reason "Chờ cắt điện"
  fieldsync deadline 1022-2026-00017 --resume`,
		Args: cobra.ExactArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	cmd.Flags().BoolVar(&resume, "resume", false, "let the clock run again from now")
	cmd.Flags().StringVar(&until, "pause-until", "", "let the clock stand still to the end of this day, such as 2026-12-04")
	cmd.Flags().StringVar(&reason, "reason", "", "why it stands still")
	cmd.MarkFlagsRequiredTogether("pause-until", "reason")
	cmd.MarkFlagsMutuallyExclusive("pause-until", "resume")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			task, err := taskOf(cmd.Context(), o, args[0])
			if err != nil {
				return err
			}
			switch {
			case until != "":
				day, err := calendar.ParseDay(until)
				if err != nil {
					return fault.New(fault.Invalid, "flag_invalid",
						fmt.Sprintf("Ngày %q không có thật: hãy ghi như 2026-12-04.", until), fmt.Sprintf("There is no day %q: write it like 2026-12-04.", until))
				}
				if _, err := o.deadlines().PauseDeadline(cmd.Context(), &fieldsyncv1.PauseDeadlineRequest{
					TaskId: task, Reason: reason, Until: timestamppb.New(day.End()),
				}); err != nil {
					return err
				}
			case resume:
				if _, err := o.deadlines().ResumeDeadline(cmd.Context(), &fieldsyncv1.ResumeDeadlineRequest{TaskId: task}); err != nil {
					return err
				}
			}
			x, err := o.deadlines().ExplainDeadline(cmd.Context(), &fieldsyncv1.ExplainDeadlineRequest{TaskId: task})
			if err != nil {
				return err
			}
			if asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), protojson.Format(x))
				return nil
			}
			printDeadline(cmd.OutOrStdout(), x, language(cmd))
			return nil
		})
	}
	return cmd
}

func printDeadline(w io.Writer, x *fieldsyncv1.ExplainDeadlineResponse, lang string) {
	row := func(vi, en, format string, args ...any) {
		fmt.Fprintf(w, "%-22s %s\n", sentence(vi, en, lang), fmt.Sprintf(format, args...))
	}
	row("Công việc", "Task", "%s (%s, %s)", x.GetTaskId(), x.GetHotlineId(), x.GetCategory())
	if x.GetWorkingDays() == 0 {
		fmt.Fprintln(w, sentence("Loại việc này không có hạn xử lý.", "Its category has no deadline.", lang))
		return
	}
	row("Thời hạn", "Time given", sentence("%d ngày làm việc từ %s", "%d working days from %s", lang), x.GetWorkingDays(), vietnamese(x.GetStartedAt()))
	row("Lịch", "Calendar", sentence("phiên bản %d (mới nhất: %d)", "version %d (newest: %d)", lang), x.GetCalendarVersion(), x.GetNewestCalendarVersion())
	row("Hạn xử lý", "Due", "%s", vietnamese(x.GetDueAt()))
	if x.GetDueByNewest() != nil {
		row("Theo lịch mới nhất", "By the newest calendar", "%s", vietnamese(x.GetDueByNewest()))
	}
	printReading(row, "Theo lúc máy chủ nhận", "As the server heard it", x.GetByArrival(), lang)
	if x.GetByAccount() != nil {
		printReading(row, "Theo lúc tổ làm", "As the crew did it", x.GetByAccount(), lang)
	}
	for _, pause := range x.GetPauses() {
		end := pause.GetUntil()
		if pause.GetEndedAt() != nil {
			end = pause.GetEndedAt()
		}
		row("Tạm dừng", "Paused", "%s – %s: %s (%s)", vietnamese(pause.GetFrom()), vietnamese(end), pause.GetReason(), pause.GetByMemberId())
	}
	for _, day := range x.GetDays() {
		mark := "·"
		if day.GetCounted().AsDuration() > 0 {
			mark = "+"
		}
		fmt.Fprintf(w, "  %s %s  %s\n", mark, day.GetDate(), sentence(day.GetWhy().GetVi(), day.GetWhy().GetEn(), lang))
	}
	if x.GetYearUnknown() {
		fmt.Fprintln(w, sentence("! Lịch chưa có ngày nghỉ của một năm được tính: hãy nhập lịch (fieldsync admin calendar).",
			"! The calendar has no rows for a year that was counted: import them (fieldsync admin calendar).", lang))
	}
}

func printReading(row func(vi, en, format string, args ...any), vi, en string, r *fieldsyncv1.DeadlineReading, lang string) {
	state := sentence("còn trong hạn", "in time", lang)
	if r.GetLate() {
		state = sentence("quá hạn", "late", lang)
	}
	if r.GetPaused() {
		state += sentence(", đang tạm dừng", ", standing still", lang)
	}
	if r.GetEndedAt() != nil {
		state = sentence("kết thúc ", "ended ", lang) + vietnamese(r.GetEndedAt()) + ", " + state
	}
	percent := 100 * r.GetUsed().AsDuration() / max(1, r.GetTotal().AsDuration())
	row(vi, en, sentence("%s; đã dùng %d %% thời gian; hạn %s", "%s; %d %% of the time used; due %s", lang), state, int64(percent), vietnamese(r.GetDueAt()))
}

// vietnamese is a time in Vietnam for people. A midnight that ends a day is told as 24:00 of it.
func vietnamese(t *timestamppb.Timestamp) string {
	if t == nil {
		return "–"
	}
	at := t.AsTime().In(calendar.Zone)
	if at.Equal(calendar.DayOf(at).Start()) {
		return at.AddDate(0, 0, -1).Format("02/01/2006") + " 24:00"
	}
	return at.Format("02/01/2006 15:04")
}

func newCalendarCommand(run runner) *cobra.Command {
	return &cobra.Command{
		Use: "calendar [FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Print the calendar of working days as CSV, or put the years of a file: all of it or nothing",
		Long: `Print the newest calendar as CSV, each day with its source. With a file ("-" reads standard input), put its rows into a new
version: the years that the file speaks of are replaced, all others stay. Tasks that exist keep the version that they began with.

CSV has the header date,kind,vi,en,source; JSON is an array of objects with these keys. kind is holiday, day-off (compensatory, or
in exchange) or make-up (a Saturday or Sunday that is worked). A file with a bad row changes nothing; every bad row is named by its
line. At most 1,000 rows.`,
		Example: `  fieldsync admin calendar > calendar.csv
  fieldsync admin calendar 2027.csv`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			if len(args) == 0 {
				resp, err := o.deadlines().GetCalendar(cmd.Context(), &fieldsyncv1.GetCalendarRequest{})
				if err != nil {
					return "", err
				}
				return dispatch.WriteCalendar(resp.GetRows())
			}
			in, _, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return "", err
			}
			defer in.Close()
			text, err := io.ReadAll(in)
			if err != nil {
				return "", err
			}
			list, err := calendar.Read(text)
			if err != nil {
				return "", reportRows(cmd, err)
			}
			resp, err := o.deadlines().PutCalendar(cmd.Context(), &fieldsyncv1.PutCalendarRequest{Rows: dispatch.CalendarRows(list)})
			return fmt.Sprintf(sentence("lịch phiên bản %d, %d ngày", "calendar version %d, %d days", language(cmd)), resp.GetVersion(), resp.GetRows()), err
		}),
	}
}

// reportRows prints each bad row of a file, where that is what is wrong with it, and tells that nothing was done.
func reportRows(cmd *cobra.Command, err error) error {
	bad := rows.Of(err)
	if len(bad) == 0 {
		return err
	}
	lang := language(cmd)
	for _, row := range bad {
		fmt.Fprintf(cmd.ErrOrStderr(), sentence("dòng %d: %s\n", "line %d: %s\n", lang), row.Line, sentence(row.Vi, row.En, lang))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), sentence("%d dòng lỗi, không có gì được lưu\n", "%d bad rows, nothing was stored\n", lang), len(bad))
	return errReported
}

func newEscalationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "escalation TICKET-OR-TASK",
		Short: "Tell how far an assignment that nobody answers has climbed",
		Long: `Tell the steps of a task's newest assignment: what happens and when while its crew does not answer, and what has happened.
The steps are its category's (fieldsync admin categories). Takes a shell that is enrolled as a dispatcher or an admin.`,
		Example: `  fieldsync escalation 1022-2026-00017`,
		Args:    cobra.ExactArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			task, err := taskOf(cmd.Context(), o, args[0])
			if err != nil {
				return err
			}
			client := fieldsyncv1connect.NewEscalationServiceClient(o.Client(), o.server)
			resp, err := client.GetEscalation(cmd.Context(), &fieldsyncv1.GetEscalationRequest{TaskId: task})
			if err != nil {
				return err
			}
			printEscalation(cmd.OutOrStdout(), resp.GetEscalation(), language(cmd))
			return nil
		})
	}
	return cmd
}

// actionsVi says the steps of an escalation in Vietnamese; English has the names of the API.
var actionsVi = map[fieldsyncv1.EscalationAction]string{
	fieldsyncv1.EscalationAction_ESCALATION_ACTION_AGAIN:      "nhắc lại tổ",
	fieldsyncv1.EscalationAction_ESCALATION_ACTION_CREW_LEAD:  "tổ trưởng",
	fieldsyncv1.EscalationAction_ESCALATION_ACTION_DISPATCHER: "điều phối",
	fieldsyncv1.EscalationAction_ESCALATION_ACTION_UNIT_HEAD:  "lãnh đạo",
	fieldsyncv1.EscalationAction_ESCALATION_ACTION_WEBHOOK:    "webhook",
}

func printEscalation(w io.Writer, e *fieldsyncv1.Escalation, lang string) {
	if len(e.GetSteps()) == 0 {
		fmt.Fprintln(w, sentence("Không có bước leo thang nào.", "Nothing escalates it.", lang))
		return
	}
	for i, step := range e.GetSteps() {
		state := sentence("sẽ đến hạn ", "due ", lang) + step.GetDueAt().AsTime().In(calendar.Zone).Format(time.DateTime)
		switch {
		case step.GetDoneAt() != nil:
			state = fmt.Sprintf(sentence("đã làm %s, %d thông báo", "done %s, %d pushes", lang), step.GetDoneAt().AsTime().In(calendar.Zone).Format(time.DateTime), step.GetPushes())
		case e.GetEndedAt() != nil:
			state = sentence("đã hủy ", "cancelled ", lang) + e.GetEndedAt().AsTime().In(calendar.Zone).Format(time.DateTime)
		}
		action := strings.ToLower(strings.TrimPrefix(step.GetAction().String(), "ESCALATION_ACTION_"))
		fmt.Fprintf(w, "%d  %-11s  %s\n", i+1, sentence(cmp.Or(actionsVi[step.GetAction()], action), action, lang), state)
	}
}
