package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
)

func newVerifyCommand() *cobra.Command {
	var keyFile string
	var demanded []string
	cmd := &cobra.Command{
		Use:   "verify --key FILE RECEIPT [PHOTO...]",
		Short: "Check a completion's receipt and photos, without any server",
		Long: `Check that a receipt is what the proof log says of a completion, and that each photo given is, bit for bit, one of the
completion's. It needs no network and no server: only the log's public key, which /.well-known/fieldsync-log-keys.txt
publishes and whoever verifies should have got earlier, by a way that they trust. It tells what is proven and what is not.
The exit status is 0 only if everything held.

Kiểm tra biên nhận của một báo cáo hoàn thành và từng ảnh kèm theo, không cần mạng, không cần máy chủ. Mã thoát là 0 chỉ
khi mọi thứ đều đúng.`,
		Example: `  fieldsync verify --key log.pub receipts/06h0jd5yg9de4cg0423g.tlog-proof
  fieldsync verify --key log.pub --lang en receipt.tlog-proof photo-1.jpg photo-2.jpg
  fieldsync verify --key log.pub --witness 1022.example/w+3c1f9a07+BKq0... receipt.tlog-proof`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the log's public keys, and those of witnesses, one a line")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // The flag is defined a line above.
	}
	cmd.Flags().StringArrayVar(&demanded, "witness", nil, "verifier key of a witness who must have cosigned (name+hash+key); repeat it for several")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys, err := readKeys(keyFile, demanded...)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		proven, err := receipt.Verify(text, keys)
		if err != nil {
			return err
		}
		if err := demand(proven.Checkpoint, demanded); err != nil {
			return err
		}
		w, lang := cmd.OutOrStdout(), language(cmd)
		printProven(w, proven, lang)
		good, err := verifyPhotos(w, proven, args[1:], lang)
		if err != nil {
			return err
		}
		printUnproven(w, proven, len(args)-1, lang)
		if !good {
			return errReported
		}
		return nil
	}
	return cmd
}

// readKeys reads a file of verifier keys, and takes the keys of further witnesses with them.
func readKeys(file string, witnesses ...string) (receipt.Keys, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return receipt.Keys{}, err
	}
	for _, witness := range witnesses {
		if _, err := receipt.ParseWitness(witness); err != nil {
			return receipt.Keys{}, err
		}
		text = fmt.Appendf(text, "\n%s\n", witness)
	}
	return receipt.ParseKeys(text)
}

// demand fails where one of the witnesses has not cosigned the checkpoint.
func demand(checkpoint receipt.Signed, witnesses []string) error {
	for _, text := range witnesses {
		witness, err := receipt.ParseWitness(text)
		if err != nil {
			return err
		}
		if !checkpoint.CosignedBy(witness) {
			return fault.New(fault.DataLoss, "witness_missing",
				fmt.Sprintf("Bên chứng kiến %s chưa ký điểm kiểm của biên nhận này: hãy lấy lại biên nhận sau khi họ ký.", witness.Name()),
				fmt.Sprintf("The witness %s has not cosigned this receipt's checkpoint: get the receipt again once they have.", witness.Name()))
		}
	}
	return nil
}

func printProven(w io.Writer, p *receipt.Proven, lang string) {
	row := func(vi, en, format string, args ...any) {
		fmt.Fprintf(w, "  %-20s %s\n", sentence(vi, en, lang), fmt.Sprintf(format, args...))
	}
	r := p.Record
	fmt.Fprintln(w, sentence("✓ ĐÃ CHỨNG MINH: nhật ký đã ghi nhận, không bit nào bị sửa từ đó đến nay",
		"✓ PROVEN: the log recorded this, and no bit of it has changed since", lang))
	row("Phiếu 1022", "Ticket", "%s (%s)", r.GetHotlineId(), r.GetTicketId())
	row("Công việc", "Task", "%s", r.GetTaskId())
	row("Báo cáo", "Completion", "%s, %s", r.GetCompletionId(), kindName(p.Kind, lang))
	row("Kết quả", "Outcome", "%s", strings.ToLower(strings.TrimPrefix(r.GetOutcome().String(), "OUTCOME_")))
	row("Người, tổ, máy", "Who, crew, device", "%s, %s, %s", r.GetMemberId(), r.GetCrewId(), r.GetDeviceId())
	if p.Claim != nil {
		row("Chữ ký của máy", "Signed by", sentence("khóa của máy %s (sha256 %x)", "the key of the device %s (sha256 %x)", lang), r.GetDeviceId(), sha256.Sum256(r.GetDeviceKey()))
	}
	row("Hoàn thành", "Completed", "%s", between(r.GetCompleted(), lang))
	row("Vị trí", "Where", "%s", place(r.GetPosition(), lang))
	row("Máy chủ nhận", "Accepted", "%s", exact(r.GetAcceptedAt()))
	if r.GetSealedAt() != nil {
		row("Niêm phong", "Sealed", "%s", exact(r.GetSealedAt()))
	}
	if r.GetDueAt() != nil {
		row("Hạn xử lý", "Due", "%s: %s", exact(r.GetDueAt()), deadlineName(r.GetDeadline(), lang))
	}
	if r.GetNote() != "" {
		row("Ghi chú", "Note", "%q", r.GetNote())
	}
	if d := r.GetDecision(); d != nil {
		what := sentence("tin báo giả: đã xác nhận", "a false report: confirmed", lang)
		if !d.GetConfirmed() {
			what = sentence("tin báo giả: đã rút lại xác nhận", "a false report: taken back", lang)
		}
		row("Quyết định", "Decision", "%s, %s, %s: %q", what, d.GetMemberId(), exact(d.GetAt()), d.GetReason())
		row("Hồ sơ", "Dossier", "sha256 %x", d.GetDossierSha256())
	}
	if c := r.GetCorrects(); c != nil && p.Kind == receipt.Reopened {
		row("Mở lại", "Reopened", "%s, %s: %q", c.GetMemberId(), exact(c.GetAt()), c.GetReason())
		row("Rút lại mục", "Takes back", "%s", tlog.Hash(c.GetLeaf()))
	} else if c != nil {
		row("Thay cho báo cáo", "Replaces", sentence("%s (mục %s)", "%s (the leaf %s)", lang), c.GetCompletionId(), tlog.Hash(c.GetLeaf()))
	}
	for _, note := range r.GetNotes() {
		row("Ghi chú", "Note", "%q", note.GetText())
	}
	for _, photo := range r.GetPhotos() {
		row("Ảnh", "Photo", "%s, %d B, sha256 %x, %s", photo.GetPhotoId(), photo.GetSizeBytes(), photo.GetSha256(), between(photo.GetCaptured(), lang)+vouched(p, photo, lang))
		for _, finding := range photo.GetFindings() {
			row("", "", "  ! %s [%s]", sentence(finding.GetSentence().GetVi(), finding.GetSentence().GetEn(), lang), finding.GetCode())
		}
	}
	row("Nhật ký", "Log", sentence("%s, mục %d trong %d", "%s, leaf %d of %d", lang), p.Checkpoint.Origin, p.Index+1, p.Checkpoint.Size)
	row("Mã mục", "Leaf", "%s", p.Leaf)
	for _, witness := range p.Checkpoint.Witnesses {
		row("Bên chứng kiến", "Witness", "%s", witness)
	}
}

// verifyPhotos compares each file with the receipt's photos and says what it finds.
func verifyPhotos(w io.Writer, p *receipt.Proven, files []string, lang string) (good bool, err error) {
	good = true
	for _, file := range files {
		original, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		photo, err := p.Photo(original)
		if fault.CodeOf(err) != "" {
			good = false
			fmt.Fprintf(w, "✗ %s: %s\n", file, explain(err, lang))
			continue
		}
		fmt.Fprintf(w, sentence("✓ %s: đúng từng bit là ảnh %s của báo cáo\n", "✓ %s: bit for bit the completion's photo %s\n", lang), file, photo.GetPhotoId())
	}
	return good, nil
}

func printUnproven(w io.Writer, p *receipt.Proven, compared int, lang string) {
	say := func(vi, en string, args ...any) { fmt.Fprintf(w, "  - "+sentence(vi, en, lang)+"\n", args...) }
	fmt.Fprintln(w, sentence("KHÔNG được chứng minh:", "NOT proven:", lang))
	if p.Kind == receipt.Claimed {
		say("rằng ảnh đã đến máy chủ: đây mới là lời khai, chưa niêm phong", "that the photos have arrived: this is the claim, not the seal")
	}
	if total := len(p.Record.GetPhotos()); compared < total {
		say("nội dung các ảnh không đưa vào kiểm tra (đã đưa %d, báo cáo có %d)", "what the photos show that were not given (%d given, the completion has %d)", compared, total)
	}
	say("rằng ảnh, vị trí và giờ máy đúng sự thật: đó là lời của điện thoại, khoảng thời gian do máy chủ giới hạn",
		"that photos, position and wall clock are true: the phone says so; only the bounds of time are the server's")
	if p.Claim == nil {
		say("rằng máy này đã khai như vậy: báo cáo không có chữ ký của máy (ứng dụng cũ, hoặc do điều phối viên sửa), chỉ có lời của máy chủ",
			"that the device said so: the completion lacks its signature (an older app, or mended by a dispatcher) and rests on the server's word")
	}
	say("ai đã cầm máy: máy chủ khẳng định khóa này là của máy này, máy này là của người này",
		"who held the phone: that this is the device's key and this member's device is the server's word")
	if len(p.Checkpoint.Witnesses) == 0 {
		say("rằng nhật ký không có bản thứ hai: hãy so các điểm kiểm bằng `fieldsync log check`",
			"that there is no second version of the log: compare checkpoints with `fieldsync log check`")
	}
	say("những gì xảy ra sau đó với công việc này", "what happened to the task afterwards")
}

// vouched says whether the device signed for a photo too; a photo of a colleague's, or one taken in a damaged one's stead, it may
// not have known of.
func vouched(p *receipt.Proven, photo *fieldsyncv1.PhotoFact, lang string) string {
	if p.Claim == nil || p.Vouches(photo) {
		return ""
	}
	return sentence(" (máy này không ký cho ảnh này)", " (the device did not sign for it)", lang)
}

func kindName(kind receipt.Kind, lang string) string {
	switch kind {
	case receipt.Claimed:
		return sentence("đã khai", "claimed", lang)
	case receipt.Sealed:
		return sentence("đã niêm phong", "sealed", lang)
	case receipt.Delivered:
		return sentence("đã giao cho tổng đài", "delivered", lang)
	case receipt.Reopened:
		return sentence("đã bị rút lại, công việc mở lại", "taken back, the task was reopened", lang)
	case receipt.Decided:
		return sentence("đã quyết định về tin báo", "decided on", lang)
	default:
		return kind.String()
	}
}

func deadlineName(verdict fieldsyncv1.DeadlineVerdict, lang string) string {
	switch verdict {
	case fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_MET:
		return sentence("đúng hạn", "met", lang)
	case fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_MISSED:
		return sentence("trễ hạn", "missed", lang)
	default:
		return sentence("chưa phân định được", "open", lang)
	}
}

// between is an interval for people.
func between(i *fieldsyncv1.TimeInterval, lang string) string {
	s := fmt.Sprintf(sentence("từ %s đến %s", "between %s and %s", lang), exact(i.GetEarliest()), exact(i.GetLatest()))
	if i.GetWall() != nil {
		s += fmt.Sprintf(sentence(" (đồng hồ máy: %s)", " (the phone's clock: %s)", lang), exact(i.GetWall()))
	}
	return s
}

// exact is a time with its offset, Vietnam's: a receipt is read on any machine, and says the same on each.
func exact(t *timestamppb.Timestamp) string {
	if t == nil {
		return "?"
	}
	return t.AsTime().In(calendar.Zone).Format(time.RFC3339)
}

func place(p *fieldsyncv1.Position, lang string) string {
	if p == nil {
		return sentence("không rõ", "unknown", lang)
	}
	s := fmt.Sprintf("%.6f, %.6f ± %.0f m", p.GetLatitude(), p.GetLongitude(), p.GetAccuracyM())
	if p.GetAccuracyM() == 0 {
		s = fmt.Sprintf(sentence("%.6f, %.6f (không rõ sai số)", "%.6f, %.6f (accuracy unknown)", lang), p.GetLatitude(), p.GetLongitude())
	}
	if p.GetMock() {
		s += sentence(", vị trí giả lập", ", a mock location", lang)
	}
	return s
}
