package phone

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func errNotEnrolled() error {
	return fault.New(fault.Unauthenticated, "not_enrolled",
		"Máy này chưa được đăng ký: hãy đăng ký bằng mã do điều phối viên cấp.",
		"This phone is not enrolled: enrol it with a code from the dispatcher.")
}

// errRevoked is the end of a phone's work for the server. The code is the server's own.
func errRevoked() error {
	return fault.New(fault.Unauthenticated, "device_revoked",
		"Thiết bị này đã bị thu hồi quyền: dữ liệu công việc đã được xóa, việc đã ghi đã gửi hết để xem xét. Hãy xin mã mới rồi đăng ký lại.",
		"This device has been revoked: its tasks are erased, and what was recorded has been delivered for review. Ask for a code and enrol it anew.")
}

func errTaskNotHeld(task string) error {
	return fault.New(fault.NotFound, "task_unknown",
		fmt.Sprintf("Máy này không giữ công việc %s.", task),
		fmt.Sprintf("This phone holds no task %s.", task))
}

func errInvalid(what string) error {
	return fault.New(fault.Invalid, "intent_invalid",
		"Nội dung không hợp lệ, chưa ghi gì cả: "+what+".",
		"Not valid, nothing was recorded: "+what+".")
}

// errAnswer is what becomes of an answer that no honest server gives. Nothing of it was applied.
func errAnswer(what string) error {
	return fault.New(fault.Unavailable, "answer_malformed",
		"Câu trả lời của máy chủ không đúng giao thức, chưa áp dụng gì: "+what+".",
		"The server's answer breaks the protocol, nothing of it was applied: "+what+".")
}

// errForked says to the phone itself what the server would say of the numbers that it is about to use.
func errForked() error {
	return fault.New(fault.Precondition, "install_epoch_conflicted",
		"Số thứ tự của máy này đã bị dùng trùng.", "Numbers of this phone were used twice.")
}

// errDatabase is for a database that cannot be read as far as that. Nothing is taken away: its file is the only copy of what was
// recorded since the last sync.
func errDatabase(dir string, cause any) error {
	path := filepath.Join(dir, databaseFile)
	return fault.New(fault.DataLoss, "phone_damaged",
		fmt.Sprintf("Dữ liệu trên máy bị hỏng (%s: %v). Hãy giữ nguyên tệp này, đừng xóa: việc chưa gửi còn nằm trong đó. "+
			"Dời thư mục sang chỗ khác, đăng ký lại bằng mã mới, và báo quản trị viên.", path, cause),
		fmt.Sprintf("The data on this phone is damaged (%s: %v). Keep the file, do not delete it: what was not sent yet lies in it. "+
			"Move the folder aside, enrol anew with a new code, and tell an administrator.", path, cause))
}

// withRoom says of an error of the disk whether it is full, which the crew member can do something about.
func withRoom(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return fault.New(fault.Unavailable, "phone_full",
		"Bộ nhớ của máy đã đầy, lần này chưa ghi được gì; việc đã ghi trước đó vẫn còn. Hãy xóa bớt dữ liệu khác rồi làm lại.",
		"The phone's storage is full, and nothing was recorded this time; what was recorded before is kept. Make room, and do it again.")
}

// errCopyDamaged is for a photo whose copy on the phone is missing or not what was recorded.
func errCopyDamaged(id string) error {
	return fault.New(fault.Precondition, "photo_copy_damaged",
		fmt.Sprintf("Ảnh %s trên máy đã mất hoặc bị hỏng nên không gửi được: hãy chụp lại.", id),
		fmt.Sprintf("The photo %s is lost or damaged on this phone and cannot be sent: take another one.", id))
}

func errReplica() error {
	return fault.New(fault.DataLoss, "replica_mismatch",
		"Dữ liệu trên máy vẫn khác máy chủ sau khi sửa và tải lại. Việc đã ghi không mất; hãy báo quản trị viên.",
		"What this phone holds still differs from the server after repair and reload. Nothing recorded is lost; tell an administrator.")
}

// kinds turns the code of a Connect error back into the kind that the server meant.
var kinds = map[connect.Code]fault.Kind{
	connect.CodeInvalidArgument:    fault.Invalid,
	connect.CodeNotFound:           fault.NotFound,
	connect.CodeFailedPrecondition: fault.Precondition,
	connect.CodeOutOfRange:         fault.OutOfRange,
	connect.CodeUnauthenticated:    fault.Unauthenticated,
	connect.CodePermissionDenied:   fault.Denied,
	connect.CodeResourceExhausted:  fault.Exhausted,
	connect.CodeUnavailable:        fault.Unavailable,
	connect.CodeDeadlineExceeded:   fault.Unavailable,
	connect.CodeDataLoss:           fault.DataLoss,
}

// callFault turns what a call failed with into a fault, with the sentence that the server sent or, where the server was
// not reached or said nothing of its own, with one of the phone's. The end of the caller's own context stays what it is.
func callFault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return unreachable(err)
	}
	for _, detail := range ce.Details() {
		value, derr := detail.Value()
		if derr != nil {
			continue
		}
		if info, ok := value.(*fieldsyncv1.ErrorInfo); ok {
			f := fault.New(kinds[ce.Code()], info.GetCode(), info.GetMessage().GetVi(), info.GetMessage().GetEn())
			f.RetryAfter = info.GetRetryAfter().AsDuration()
			f.ExpectedNumber = info.GetExpectedNumber()
			if info.GetServerTime() != nil {
				f.ServerTime = info.GetServerTime().AsTime()
			}
			return f
		}
	}
	kind, ok := kinds[ce.Code()]
	if !ok || kind == fault.Unavailable {
		return unreachable(err)
	}
	return fault.New(kind, ce.Code().String(),
		"Máy chủ từ chối: "+ce.Message()+".", "The server refuses: "+ce.Message()+".")
}

// unreachable covers everything after which the phone knows nothing: no network, a cut, a proxy's error page, a lost answer.
func unreachable(err error) error {
	f := fault.New(fault.Unavailable, "server_unreachable",
		"Không liên lạc được máy chủ. Việc đã ghi vẫn nằm trong máy và sẽ được gửi sau.",
		"The server cannot be reached. What was recorded stays on the phone and is sent later.")
	return fmt.Errorf("%w (%w)", f, err)
}
