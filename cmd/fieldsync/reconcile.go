package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline/georeport"
	"github.com/cong1022/fieldsync/internal/fault"
)

// difference is a ticket of which the two sides do not say the same.
type difference struct {
	// HotlineID is the ticket.
	HotlineID string `json:"hotline_id"`
	// Hotline and Fieldsync are what each says: "open", "closed", or "missing".
	Hotline   string `json:"hotline"`
	Fieldsync string `json:"fieldsync"`
	// Code says why, for software; Vi and En for people.
	Code string `json:"code"`
	Vi   string `json:"vi"`
	En   string `json:"en"`
}

func newReconcileCommand(profile *string) *cobra.Command {
	var since string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reconcile FILE",
		Short: "Compare the hotline's list of open and closed tickets with the server's, and say what differs and why",
		Long: `Compare the hotline's own list of tickets with where the server has them. FILE is GeoReport JSON or CSV, "-" is standard input:
service_request_id (or "Mã phiếu") and status (open, closed, "đang xử lý", "đã đóng" ...) are what is read of it.

A ticket that the server has and the list has not is a difference, too, if it was reported at --since or later; without --since such
tickets are not looked for, since a list rarely reaches back to the beginning.

The exit status is 0 if nothing differs and every row could be read, 1 otherwise. Nothing is changed on either side.`,
		Example: `  fieldsync hotline reconcile --profile ./hotline tickets.csv
  fieldsync hotline reconcile --profile ./hotline --since 2026-11-01 --json november.json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&since, "since", "", "also name tickets reported from this day on (Vietnam's time) that FILE lacks, such as 2026-11-01")
	cmd.Flags().BoolVar(&asJSON, "json", false, "a difference a line, as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := dayInVietnam(since)
		if err != nil {
			return err
		}
		return asOperator(*profile, func(o operator) error {
			in, size, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer in.Close()
			lang := language(cmd)
			listed, bad, err := readStates(withProgress(in, size, cmd.ErrOrStderr()), cmd.ErrOrStderr(), lang)
			if err != nil {
				return err
			}
			standings, err := allStandings(cmd, o)
			if err != nil {
				return err
			}
			found := reconcile(listed, standings, from)
			if err := printDifferences(cmd.OutOrStdout(), found, asJSON, lang); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), sentence("%d phiếu trong tệp, %d trên máy chủ, %d khác nhau, %d dòng lỗi\n",
				"%d tickets in the file, %d on the server, %d differ, %d bad rows\n", lang), len(listed), len(standings), len(found), bad)
			if len(found)+bad > 0 {
				return errReported
			}
			return nil
		})
	}
	return cmd
}

func dayInVietnam(day string) (from time.Time, err error) {
	if day == "" {
		return from, nil
	}
	if from, err = time.ParseInLocation(time.DateOnly, day, time.FixedZone("+07", 7*60*60)); err != nil {
		return from, fault.New(fault.Invalid, "day_invalid",
			fmt.Sprintf("%q không phải là ngày như 2026-11-01.", day), fmt.Sprintf("%q is no day such as 2026-11-01.", day))
	}
	return from, nil
}

// readStates reads the hotline's list. A ticket that stands in it twice must stand in it the same.
func readStates(in io.Reader, errs io.Writer, lang string) (closed map[string]bool, bad int, err error) {
	closed = make(map[string]bool)
	complain := func(row *georeport.RowError) {
		bad++
		fmt.Fprintf(errs, sentence("dòng %d (%s): %s\n", "line %d (%s): %s\n", lang), row.Line, row.ID, sentence(row.Reason.GetVi(), row.Reason.GetEn(), lang))
	}
	err = georeport.ReadStates(in, func(state georeport.State, row *georeport.RowError) bool {
		if row != nil {
			complain(row)
			return true
		}
		if before, twice := closed[state.HotlineID]; twice && before != state.Closed {
			complain(&georeport.RowError{Line: state.Line, ID: state.HotlineID, Reason: &fieldsyncv1.Sentence{
				Vi: "phiếu xuất hiện hai lần, một lần mở, một lần đóng", En: "the ticket comes twice, once open and once closed",
			}})
			return true
		}
		closed[state.HotlineID] = state.Closed
		return true
	})
	return closed, bad, err
}

func allStandings(cmd *cobra.Command, o operator) (map[string]*fieldsyncv1.TicketStanding, error) {
	standings := make(map[string]*fieldsyncv1.TicketStanding)
	request := &fieldsyncv1.ListTicketStatesRequest{Limit: 500}
	for {
		page, err := o.hotline().ListTicketStates(cmd.Context(), request)
		if err != nil {
			return nil, err
		}
		for _, ticket := range page.GetTickets() {
			standings[ticket.GetHotlineId()] = ticket
		}
		if request.PageToken = page.GetNextToken(); len(request.GetPageToken()) == 0 {
			return standings, nil
		}
	}
}

// reconcile names what differs, by the hotline's id. from is the time from which a ticket that is not listed counts, zero for never.
func reconcile(closed map[string]bool, standings map[string]*fieldsyncv1.TicketStanding, from time.Time) (found []difference) {
	for id, isClosed := range closed {
		d := difference{HotlineID: id, Hotline: "open", Fieldsync: "missing", Code: "never_handed_over"}
		if isClosed {
			d.Hotline = "closed"
		}
		d.Vi, d.En = "phiếu chưa từng được chuyển sang fieldsync: hãy nhập lại (fieldsync import)", "it was never handed over: import it (fieldsync import)"
		if standing := standings[id]; standing != nil {
			if d.Fieldsync = "open"; over(standing) {
				d.Fieldsync = "closed"
			}
			if d.Hotline == d.Fieldsync {
				continue
			}
			d.Code, d.Vi, d.En = why(standing, isClosed)
		}
		found = append(found, d)
	}
	for id, standing := range standings {
		if _, listed := closed[id]; listed || from.IsZero() || standing.GetReportedAt().AsTime().Before(from) {
			continue
		}
		d := difference{HotlineID: id, Hotline: "missing", Fieldsync: "open", Code: "not_in_list"}
		if over(standing) {
			d.Fieldsync = "closed"
		}
		d.Vi, d.En = "fieldsync có phiếu này, danh sách của tổng đài không có", "fieldsync has it, the hotline's list has not"
		found = append(found, d)
	}
	slices.SortFunc(found, func(a, b difference) int { return cmp.Compare(a.HotlineID, b.HotlineID) })
	return found
}

// over tells whether nothing more is to come for a ticket.
func over(s *fieldsyncv1.TicketStanding) bool {
	return s.GetClosedAt() != nil || s.GetWithdrawnAt() != nil || s.GetState() == fieldsyncv1.TaskState_TASK_STATE_CANCELLED
}

// why says for what reason a ticket that both sides know stands differently on them.
func why(s *fieldsyncv1.TicketStanding, closedThere bool) (code, vi, en string) {
	at := func(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }
	switch {
	case !closedThere && s.GetWithdrawnAt() != nil:
		return "withdrawn", "tổng đài đã rút phiếu lúc " + at(s.GetWithdrawnAt()), "the hotline withdrew it at " + at(s.GetWithdrawnAt())
	case !closedThere && s.GetClosedAt() != nil && s.GetCompletionId() == "":
		return "closed_with_parent", "đã đóng cùng phiếu gốc " + s.GetParentHotlineId(), "it was closed with " + s.GetParentHotlineId() + ", of which it is a duplicate"
	case !closedThere && s.GetClosedAt() != nil:
		return "acknowledged", fmt.Sprintf("tổng đài đã xác nhận kết quả %s lúc %s nhưng danh sách vẫn mở", s.GetCompletionId(), at(s.GetClosedAt())),
			fmt.Sprintf("the hotline acknowledged the completion %s at %s, yet its list has it open", s.GetCompletionId(), at(s.GetClosedAt()))
	case !closedThere:
		return "cancelled", "điều phối viên đã hủy công việc: " + s.GetReason(), "a dispatcher called the task off: " + s.GetReason()
	case s.GetParentHotlineId() != "" && s.GetState() == 0:
		return "parent_open", "là phiếu trùng của " + s.GetParentHotlineId() + ", phiếu gốc còn mở",
			"it is a duplicate of " + s.GetParentHotlineId() + ", which is open"
	case s.GetState() == fieldsyncv1.TaskState_TASK_STATE_DONE && s.GetProofState() < fieldsyncv1.ProofState_PROOF_STATE_SEALED:
		return "not_sealed", "tổ đã xong, bằng chứng chưa đủ: " + s.GetWaiting().GetVi(), "the crew is done, the proof waits: " + s.GetWaiting().GetEn()
	case s.GetState() == fieldsyncv1.TaskState_TASK_STATE_DONE:
		return "not_acknowledged", fmt.Sprintf("kết quả %s đã niêm phong, tổng đài chưa xác nhận", s.GetCompletionId()),
			fmt.Sprintf("the completion %s is sealed, the hotline has not acknowledged it", s.GetCompletionId())
	case s.GetState() == 0:
		return "no_task", "chưa ai lập công việc cho phiếu (đơn vị " + s.GetUnitId() + ")", "nobody has made a task of it (unit " + s.GetUnitId() + ")"
	case s.GetCrewId() == "":
		return "no_crew", "công việc chưa giao cho tổ nào", "no crew has the task"
	default:
		return "with_crew", fmt.Sprintf("tổ %s đang giữ công việc từ %s, chưa báo xong", s.GetCrewId(), at(s.GetSince())),
			fmt.Sprintf("the crew %s has the task since %s and has not completed it", s.GetCrewId(), at(s.GetSince()))
	}
}

func printDifferences(w io.Writer, found []difference, asJSON bool, lang string) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		for _, d := range found {
			if err := encoder.Encode(d); err != nil {
				return err
			}
		}
		return nil
	}
	words := map[string]string{
		"open": sentence("mở", "open", lang), "closed": sentence("đóng", "closed", lang), "missing": sentence("không có", "missing", lang),
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(found) > 0 {
		fmt.Fprintln(table, sentence("PHIẾU\tTỔNG ĐÀI\tFIELDSYNC\tVÌ SAO", "TICKET\tHOTLINE\tFIELDSYNC\tWHY", lang))
	}
	for _, d := range found {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s [%s]\n", d.HotlineID, words[d.Hotline], words[d.Fieldsync], sentence(d.Vi, d.En, lang), d.Code)
	}
	return table.Flush()
}
