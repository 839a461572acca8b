package sync

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// judgement is how a mutation is judged: every one that there is stands below.
type judgement struct {
	kind fieldsyncv1.VerdictKind
	code string
	vi   string
	en   string
}

const (
	kindApplied     = fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED
	kindMerged      = fieldsyncv1.VerdictKind_VERDICT_KIND_MERGED
	kindSuperseded  = fieldsyncv1.VerdictKind_VERDICT_KIND_SUPERSEDED
	kindQuarantined = fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED
	kindRejected    = fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED
)

// The catalogue of verdicts. docs/protocol.md repeats it, and a test compares the two.
var (
	applied = judgement{kindApplied, "applied", "Đã ghi nhận.", "Recorded."}

	keptLate = judgement{
		kindMerged, "kept_for_review", "Công việc đã được giao lại hoặc hủy trong lúc này; phần bạn ghi được giữ lại để xem xét.",
		"The task was reassigned or cancelled meanwhile; what you recorded is kept for review.",
	}
	keptEnded = judgement{
		kindMerged, "kept_after_end", "Công việc đã kết thúc; phần bạn ghi được thêm vào hồ sơ.",
		"The task had ended; what you recorded is added to its file.",
	}

	already      = judgement{kindSuperseded, "already_so", "Đã như vậy rồi.", "It was so already."}
	alreadyEnded = judgement{
		kindSuperseded, "task_ended", "Công việc đã kết thúc hoặc không còn của tổ bạn; trạng thái giữ nguyên.",
		"The task had ended or was no longer your crew's; its state stays as it is.",
	}

	reusedNumber = judgement{
		kindQuarantined, "number_reused", "Số thứ tự này đã dùng cho nội dung khác; nội dung mới được giữ lại cho điều phối viên.",
		"This number was used for something else; the new content is kept for a dispatcher.",
	}
	senderRevoked = judgement{
		kindQuarantined, "sender_revoked", "Thiết bị đã bị thu hồi quyền; nội dung được giữ lại cho điều phối viên xem xét.",
		"The device has been revoked; the content is kept for a dispatcher to look at.",
	}
	unknownIntent = judgement{
		kindQuarantined, "intent_unknown", "Máy chủ chưa hiểu thao tác này; nội dung được giữ lại cho điều phối viên.",
		"The server does not know this kind of intent; it is kept for a dispatcher.",
	}
	invalid = judgement{
		kindQuarantined, "mutation_invalid", "Nội dung không hợp lệ; được giữ lại cho điều phối viên.",
		"The content breaks the rules; it is kept for a dispatcher.",
	}
	taskFull = judgement{
		kindQuarantined, "task_full", "Công việc đã đầy (50 ảnh, hoặc 256 KiB ghi chú); nội dung được giữ lại cho điều phối viên.",
		"The task is full (50 photos, or 256 KiB of notes); the content is kept for a dispatcher.",
	}
	photosMissing = judgement{
		kindQuarantined, "photo_not_attached", "Báo cáo nêu ảnh chưa được đính kèm; được giữ lại cho điều phối viên.",
		"The completion names a photo that was never attached; it is kept for a dispatcher.",
	}

	claimInvalid = judgement{
		kindQuarantined, "claim_invalid", "Chữ ký của máy không khớp với báo cáo; được giữ lại cho điều phối viên.",
		"The device's signature does not fit the completion; it is kept for a dispatcher.",
	}
	afterMove = judgement{
		kindQuarantined, "recorded_after_move", "Bạn đã rời tổ trước khi ghi nội dung này; nội dung được giữ lại cho điều phối viên.",
		"You had left the crew before this was recorded; it is kept for a dispatcher.",
	}
	forgotten = judgement{
		kindQuarantined, "verdict_forgotten", "Mục này đã được xử lý từ lâu và phán quyết không còn lưu; nội dung được giữ lại cho điều phối viên.",
		"This number was judged too long ago and the verdict is no longer stored; the content is kept for a dispatcher.",
	}

	maybeLost = judgement{
		kindQuarantined, "task_maybe_lost",
		"Máy chủ không có công việc này của tổ bạn, nhưng vừa được khôi phục từ bản sao lưu; nội dung được giữ lại cho điều phối viên.",
		"The server has no such task of your crew, but was restored from a backup lately; the content is kept for a dispatcher.",
	}

	unknownTask = judgement{kindRejected, "task_unknown", "Không có công việc này.", "There is no such task."}
	tooLarge    = judgement{
		kindRejected, "mutation_too_large", "Nội dung vượt quá 128 KiB nên máy chủ không giữ; nội dung vẫn còn trên máy.",
		"The mutation is larger than 128 KiB and not kept by the server; it stays on the phone.",
	}
	unknownItem = judgement{
		kindRejected, "item_unknown", "Danh mục kiểm tra không có mục này.", "The checklist has no such item.",
	}
	notStarted = judgement{
		kindRejected, "not_started", "Công việc chưa bắt đầu.", "The task has not been started.",
	}
	alreadyStarted = judgement{
		kindRejected, "already_started", "Công việc đã bắt đầu; hãy bàn giao thay vì từ chối.",
		"The task has been started; hand it over instead of declining it.",
	}
	photoIDTaken = judgement{
		kindRejected, "photo_id_taken", "Mã ảnh này đã dùng cho ảnh khác.", "This photo id was used for another photo.",
	}
)

// verdict puts a judgement into words for the phone. revision is 0 where the task was not touched, or not seen.
func (j judgement) verdict(tx *store.Tx, number, revision uint64) *fieldsyncv1.Verdict {
	return &fieldsyncv1.Verdict{
		Number: number, Kind: j.kind, Code: j.code,
		Message:      &fieldsyncv1.Sentence{Vi: j.vi, En: j.en},
		TaskRevision: revision,
		JudgedAt:     timestamppb.New(tx.Now()),
	}
}
