package backup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

func errFolderInUse(dir string) error {
	return fault.New(fault.Precondition, "restore_folder_in_use",
		fmt.Sprintf("%s đã có dữ liệu; hãy khôi phục vào thư mục trống, hoặc dời thư mục cũ đi trước.", dir),
		fmt.Sprintf("%s is not empty: restore into an empty folder, or move the old one away first.", dir))
}

// ErrEmpty is NotFound "backup_empty": a target that holds no snapshot.
func ErrEmpty() error {
	return fault.New(fault.NotFound, "backup_empty",
		"Nơi sao lưu không có bản chụp nào; hãy kiểm tra lại địa chỉ của nơi sao lưu.",
		"The repository holds no snapshot: check its address.")
}

func errTooEarly(first time.Time) error {
	at := moment(first)
	return fault.New(fault.NotFound, "backup_time_unknown",
		fmt.Sprintf("Bản sao lưu chỉ bắt đầu từ %s.", at), fmt.Sprintf("The backup begins at %s.", at))
}

// moment is a time such that --to takes it as it stands there, and means neither less nor more.
func moment(at time.Time) string {
	return at.Local().Format(time.RFC3339Nano) //nolint:gosmopolitan // For the person at this terminal.
}

// errGap is for records that are missing behind the last one, of the time reached, to which the backup goes without a gap.
func errGap(first, last uint64, reached time.Time) error {
	at := moment(reached)
	return fault.New(fault.DataLoss, "backup_gap",
		fmt.Sprintf("Bản sao lưu thiếu các bản ghi từ %d đến %d; hãy khôi phục về %s hoặc trước đó bằng --to.", first, last, at),
		fmt.Sprintf("The records from %d to %d are missing in the backup: restore to %s, or to a time before, with --to.", first, last, at))
}

// What Verify finds beside errDamaged.

func errMissingBefore(name string, first, last uint64) error {
	return fault.New(fault.DataLoss, "backup_gap",
		fmt.Sprintf("%s: thiếu các bản ghi từ %d đến %d ở trước; chỉ khôi phục được về thời điểm trước đó hoặc sau bản chụp kế tiếp.", name, first, last),
		fmt.Sprintf("%s: the records from %d to %d are missing before it; only a time before them, or behind the next snapshot, can be restored.", name, first, last))
}

func errNoSnapshot(name string) error {
	return fault.New(fault.DataLoss, "backup_gap",
		fmt.Sprintf("%s: không có bản chụp nào ở trước, nên không khôi phục được từ đây cho đến bản chụp kế tiếp.", name),
		fmt.Sprintf("%s: no snapshot is before it, so no time from here to the next snapshot can be restored.", name))
}

func errForeign(name string) error {
	return fault.New(fault.Precondition, "backup_object_foreign",
		fmt.Sprintf("%s không thuộc bản sao lưu nào; hãy dời tệp này đi.", name), fmt.Sprintf("%s does not belong to a backup: move it away.", name))
}

// errMisnamed is why an object is damaged whose content is whole.
var errMisnamed = errors.New("it is not what its name says")

func errIdentityNeeded(name string) error {
	return fault.New(fault.Precondition, "backup_identity_needed",
		fmt.Sprintf("%s đã được mã hóa; hãy chỉ tệp khóa age bằng --identity.", name),
		fmt.Sprintf("%s is encrypted: name the file with the age identity with --identity.", name))
}

func errIdentityWrong(name string) error {
	return fault.New(fault.Precondition, "backup_identity_wrong",
		fmt.Sprintf("Khóa trong --identity không mở được %s; bản sao lưu được mã hóa cho khóa khác.", name),
		fmt.Sprintf("The identity in --identity does not open %s: the backup is encrypted for another one.", name))
}

// errDamaged names an object that is not as it was written.
func errDamaged(name string, cause error) error {
	if strings.HasPrefix(name, kindPhoto+"/") { // No time before it has another copy.
		return fault.New(fault.DataLoss, "backup_object_damaged",
			fmt.Sprintf("%s bị hỏng trong bản sao lưu (%v); nếu máy chủ còn ảnh gốc, hãy xóa đối tượng này rồi khởi động lại máy chủ để gửi lại.", name, cause),
			fmt.Sprintf("%s is damaged in the backup (%v): where the server still has the original, remove the object and restart the server, which sends it again.", name, cause))
	}
	return fault.New(fault.DataLoss, "backup_object_damaged",
		fmt.Sprintf("%s bị hỏng trong bản sao lưu (%v); hãy khôi phục về một thời điểm trước đó bằng --to.", name, cause),
		fmt.Sprintf("%s is damaged in the backup (%v): restore to a time before it with --to.", name, cause))
}

func errPhotoUnknown(sum string) error {
	return fault.New(fault.NotFound, "backup_photo_unknown",
		fmt.Sprintf("Bản sao lưu không có ảnh %s.", sum), fmt.Sprintf("The backup has no photo %s.", sum))
}
