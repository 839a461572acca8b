package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/phone"
)

// voice says things in the user's language.
type voice struct {
	out     io.Writer
	english bool
}

func (v voice) tr(vi, en string) string {
	if v.english {
		return en
	}
	return vi
}

func (v voice) printf(vi, en string, args ...any) {
	_, _ = fmt.Fprintf(v.out, v.tr(vi, en), args...) // A closed pipe is the reader's choice.
}

func (v voice) sentence(s *fieldsyncv1.Sentence) string { return v.tr(s.GetVi(), s.GetEn()) }

func (v voice) report(r phone.Report) {
	v.printf("Đã gửi %d, nhận %d thay đổi, %d công việc rời máy.\n", "Sent %d, received %d changes, %d tasks left.\n",
		r.Sent, r.Changed, r.Removed)
	if r.Remaining > 0 {
		v.printf("Còn %d công việc chưa tải về.\n", "%d tasks are still to be fetched.\n", r.Remaining)
	}
	if r.Renumbered {
		v.printf("Máy chủ hoặc máy này đã được khôi phục hay sao chép: hàng chờ được đánh số lại.\n",
			"The server or this phone was restored or copied: the outbox was renumbered.\n")
	}
	if r.Repaired {
		v.printf("Dữ liệu trên máy khác máy chủ và đã được sửa.\n", "What this phone held differed from the server and was mended.\n")
	}
	if r.Resynced {
		v.printf("Dữ liệu trên máy đã được tải lại toàn bộ.\n", "All that this phone holds was loaded anew.\n")
	}
	for _, j := range r.Verdicts {
		if j.Verdict.GetKind() != fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED {
			v.verdict(j)
		}
	}
}

func (v voice) verdict(j phone.Judged) {
	kind := map[fieldsyncv1.VerdictKind][2]string{
		fieldsyncv1.VerdictKind_VERDICT_KIND_MERGED:      {"hợp nhất", "merged"},
		fieldsyncv1.VerdictKind_VERDICT_KIND_SUPERSEDED:  {"đã như vậy", "superseded"},
		fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED: {"chờ điều phối viên xem", "quarantined"},
		fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED:    {"bị từ chối", "rejected"},
	}[j.Verdict.GetKind()]
	_, _ = fmt.Fprintf(v.out, "%s %s: %s. %s [%s]\n", tail(j.Mutation.GetTaskId()), v.intent(j.Mutation),
		v.tr(kind[0], kind[1]), v.sentence(j.Verdict.GetMessage()), j.Verdict.GetCode())
}

func (v voice) intent(m *fieldsyncv1.Mutation) string {
	switch i := m.GetIntent().(type) {
	case *fieldsyncv1.Mutation_Accept:
		return v.tr("nhận việc", "accept")
	case *fieldsyncv1.Mutation_Start:
		return v.tr("bắt đầu", "start")
	case *fieldsyncv1.Mutation_Pause:
		return v.tr("tạm dừng: ", "pause: ") + i.Pause.GetReason()
	case *fieldsyncv1.Mutation_Resume:
		return v.tr("làm tiếp", "resume")
	case *fieldsyncv1.Mutation_AddNote:
		return v.tr("ghi chú: ", "note: ") + i.AddNote.GetText()
	case *fieldsyncv1.Mutation_Tick:
		if i.Tick.GetChecked() {
			return v.tr("đánh dấu ", "tick ") + i.Tick.GetItemId()
		}
		return v.tr("bỏ dấu ", "untick ") + i.Tick.GetItemId()
	case *fieldsyncv1.Mutation_AttachPhoto:
		return v.tr("ảnh ", "photo ") + tail(i.AttachPhoto.GetPhoto().GetPhotoId())
	case *fieldsyncv1.Mutation_Complete:
		return v.tr("hoàn thành: ", "complete: ") + v.outcome(i.Complete.GetOutcome())
	case *fieldsyncv1.Mutation_Decline:
		return v.tr("không nhận: ", "decline: ") + i.Decline.GetReason()
	case *fieldsyncv1.Mutation_HandOver:
		return v.tr("bàn giao: ", "hand over: ") + i.HandOver.GetReason()
	case *fieldsyncv1.Mutation_See:
		return v.tr("đã xem", "seen")
	default:
		return "?"
	}
}

func (v voice) state(s fieldsyncv1.TaskState) string {
	said := map[fieldsyncv1.TaskState][2]string{
		fieldsyncv1.TaskState_TASK_STATE_OPEN:      {"chưa giao", "open"},
		fieldsyncv1.TaskState_TASK_STATE_ASSIGNED:  {"đã giao", "assigned"},
		fieldsyncv1.TaskState_TASK_STATE_ACCEPTED:  {"đã nhận", "accepted"},
		fieldsyncv1.TaskState_TASK_STATE_STARTED:   {"đang làm", "started"},
		fieldsyncv1.TaskState_TASK_STATE_PAUSED:    {"tạm dừng", "paused"},
		fieldsyncv1.TaskState_TASK_STATE_DONE:      {"đã xong", "done"},
		fieldsyncv1.TaskState_TASK_STATE_CLOSED:    {"đã đóng", "closed"},
		fieldsyncv1.TaskState_TASK_STATE_CANCELLED: {"đã hủy", "cancelled"},
	}[s]
	return v.tr(said[0], said[1])
}

func (v voice) outcome(o fieldsyncv1.Outcome) string {
	said := map[fieldsyncv1.Outcome][2]string{
		fieldsyncv1.Outcome_OUTCOME_REPAIRED:      {"đã sửa xong", "repaired"},
		fieldsyncv1.Outcome_OUTCOME_MADE_SAFE:     {"đã bảo đảm an toàn", "made safe"},
		fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND: {"không phát hiện gì", "nothing found"},
		fieldsyncv1.Outcome_OUTCOME_DUPLICATE:     {"trùng phản ánh khác", "duplicate"},
		fieldsyncv1.Outcome_OUTCOME_OTHER_AGENCY:  {"thuộc đơn vị khác", "other agency"},
		fieldsyncv1.Outcome_OUTCOME_NO_ACCESS:     {"không vào được", "no access"},
		fieldsyncv1.Outcome_OUTCOME_NEEDS_PARTS:   {"thiếu vật tư, thiết bị", "needs parts"},
		fieldsyncv1.Outcome_OUTCOME_WEATHER:       {"thời tiết không cho phép", "weather"},
	}[o]
	return v.tr(said[0], said[1])
}

func (s *session) list(tasks []phone.Held) error {
	if s.json {
		all := make([]any, 0, len(tasks))
		for _, held := range tasks {
			all = append(all, heldJSON(held))
		}
		return s.printJSON(all)
	}
	if len(tasks) == 0 {
		s.printf("Không có công việc nào trên máy.\n", "No tasks on this phone.\n")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, s.tr("MÃ\t1022\tTRẠNG THÁI\tHẠN\tCHỜ GỬI\tVIỆC\tĐỊA CHỈ", "TASK\t1022\tSTATE\tDUE\tUNSENT\tTITLE\tADDRESS"))
	for _, held := range tasks {
		t := held.Task
		title := t.GetTicket().GetTitle()
		if t.GetTicket().GetUrgency() == fieldsyncv1.Urgency_URGENCY_HIGH {
			title = "! " + title
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", tail(t.GetId()), t.GetTicket().GetHotlineId(),
			s.state(t.GetStatus().GetState()), vietnamese(t.GetAssignment().GetDueAt()), len(held.Pending), cell(title), cell(t.GetTicket().GetAddress()))
	}
	return w.Flush()
}

func (s *session) show(held phone.Held) error {
	if s.json {
		return s.printJSON(heldJSON(held))
	}
	t := held.Task
	ticket := t.GetTicket()
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	row := func(vi, en, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(w, "%s\t%s\n", s.tr(vi, en), block(value))
		}
	}
	row("Mã", "Task", t.GetId())
	row("1022", "1022", ticket.GetHotlineId())
	row("Việc", "Title", ticket.GetTitle())
	row("Mô tả", "Description", ticket.GetDescription())
	row("Địa chỉ", "Address", ticket.GetAddress())
	if p := ticket.GetPosition(); p != nil {
		row("Vị trí", "Position", fmt.Sprintf("%.5f, %.5f", p.GetLatitude(), p.GetLongitude()))
	}
	row("Người báo", "Reporter", strings.TrimSpace(ticket.GetReporter().GetName()+" "+ticket.GetReporter().GetPhone()))
	status := s.state(t.GetStatus().GetState())
	if reason := t.GetStatus().GetReason(); reason != "" {
		status += ": " + reason
	}
	row("Trạng thái", "State", status)
	row("Hạn", "Due", vietnamese(t.GetAssignment().GetDueAt()))
	row("Chỉ dẫn", "Instruction", t.GetAssignment().GetInstruction())
	for _, item := range t.GetChecklist() {
		mark := "[ ] "
		if item.GetChecked() {
			mark = "[x] "
		}
		row("Danh mục", "Checklist", mark+item.GetId()+"  "+s.sentence(item.GetLabel()))
	}
	for _, note := range t.GetNotes() {
		row("Ghi chú", "Note", when(note.GetRecorded().GetWall())+"  "+note.GetText())
	}
	for _, photo := range t.GetPhotos() {
		where := s.tr("còn trên máy", "on the phone")
		switch photo.GetState() {
		case fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED:
			where = s.tr("đã xác minh", "verified")
		case fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED:
			where = s.tr("đang được kiểm tra", "being checked")
		case fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED:
			where = s.tr("bị hỏng, cần chụp lại", "damaged, to be taken again")
		default:
		}
		row("Ảnh", "Photo", fmt.Sprintf("%s  %s  %s", tail(photo.GetId()), humanize.IBytes(photo.GetSizeBytes()), where))
	}
	if c := t.GetCompletion(); c != nil {
		row("Kết quả", "Completion", strings.TrimSpace(s.outcome(c.GetOutcome())+"  "+c.GetNote()))
		row("", "", s.sentence(c.GetWaiting()))
	}
	for _, m := range held.Pending {
		row("Chờ gửi", "Unsent", when(m.GetRecorded().GetWall())+"  "+s.intent(m))
	}
	return w.Flush()
}

func (s *session) statusOf(st phone.Status) error {
	if s.json {
		return s.printJSON(st)
	}
	if st.DeviceID == "" {
		s.printf("Máy chưa đăng ký.\n", "This phone is not enrolled.\n")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	row := func(vi, en string, value any) { _, _ = fmt.Fprintf(w, "%s\t%v\n", s.tr(vi, en), value) }
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.In(calendar.Zone).Format(timeLayout)
	}
	row("Máy chủ", "Server", st.Server)
	row("Thiết bị", "Device", st.DeviceID)
	row("Người dùng", "Member", strings.TrimSpace(st.MemberName+"  "+st.CrewID))
	row("Chờ gửi", "Unsent", st.Queued)
	if st.Queued > 0 {
		row("Cũ nhất từ", "Oldest from", clock(st.Oldest))
	}
	row("Ảnh chờ tải lên", "Photos waiting", fmt.Sprintf("%d (%s)", st.PhotosWaiting, humanize.IBytes(st.PhotoBytes)))
	if st.PhotosRefused > 0 {
		row("Ảnh bị từ chối", "Photos refused", st.PhotosRefused)
	}
	if st.PhotosLost > 0 {
		row("Ảnh mất hoặc hỏng trên máy", "Photos lost or damaged here", st.PhotosLost)
	}
	if st.PhotosDamaged > 0 {
		row("Ảnh cần chụp lại", "Photos to be taken again", st.PhotosDamaged)
	}
	whole := s.tr("đủ", "whole")
	if !st.Whole {
		whole = s.tr("chưa đủ", "not whole")
	}
	row("Công việc", "Tasks", fmt.Sprintf("%d (%s, #%d)", st.Tasks, whole, st.Sequence))
	if st.Remaining > 0 {
		row("Chưa tải về", "Not fetched yet", st.Remaining)
	}
	row("Theo dõi bằng", "Watches by", map[phone.Way]string{
		phone.WayStream: s.tr("luồng", "stream"), phone.WayPoll: s.tr("hỏi dài hơi", "long poll"),
	}[st.Watching])
	row("Đồng bộ lần cuối", "Last sync", clock(st.LastSync))
	row("Mã truy cập hết hạn", "Token expires", clock(st.TokenExpires))
	if st.Verdicts > 0 {
		row("Phán quyết cần đọc", "Verdicts to read", fmt.Sprintf("%d (fieldsync phone verdicts)", st.Verdicts))
	}
	return w.Flush()
}

func (s *session) judged(all []phone.Judged) error {
	if !s.json {
		for _, j := range all {
			s.verdict(j)
		}
		return nil
	}
	list := make([]any, 0, len(all))
	for _, j := range all {
		list = append(list, map[string]any{
			"install_epoch": j.InstallEpoch, "mutation": rawJSON{j.Mutation}, "verdict": rawJSON{j.Verdict},
		})
	}
	return s.printJSON(list)
}

func heldJSON(held phone.Held) any {
	pending := make([]rawJSON, 0, len(held.Pending))
	for _, m := range held.Pending {
		pending = append(pending, rawJSON{m})
	}
	return map[string]any{"task": rawJSON{held.Task}, "pending": pending}
}

// rawJSON prints a message as the API's JSON has it.
type rawJSON struct{ proto.Message }

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return protojson.Marshal(r.Message) }

func (v voice) printJSON(what any) error {
	e := json.NewEncoder(v.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(what)
}

const timeLayout = "02/01/2006 15:04"

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().In(calendar.Zone).Format(timeLayout)
}

// tail is the end of an id, where ids differ: they begin with the time of their making.
func tail(id string) string { return id[max(0, len(id)-6):] }
