package backup

import (
	"fmt"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

func errFolderInUse(dir string) error {
	return fault.New(fault.Precondition, "restore_folder_in_use",
		fmt.Sprintf("%s đã có dữ liệu; hãy khôi phục vào thư mục trống, hoặc dời thư mục cũ đi trước.", dir),
		fmt.Sprintf("%s is not empty: restore into an empty folder, or move the old one away first.", dir))
}

func errEmpty() error {
	return fault.New(fault.NotFound, "backup_empty",
		"Nơi sao lưu không có bản chụp nào; hãy kiểm tra lại địa chỉ của nơi sao lưu.",
		"The repository holds no snapshot: check its address.")
}

func errTooEarly(first time.Time) error {
	at := first.Local().Format(time.RFC3339) //nolint:gosmopolitan // For the person at this terminal.
	return fault.New(fault.NotFound, "backup_time_unknown",
		fmt.Sprintf("Bản sao lưu chỉ bắt đầu từ %s.", at), fmt.Sprintf("The backup begins at %s.", at))
}

func errGap(first, last uint64) error {
	return fault.New(fault.DataLoss, "backup_gap",
		fmt.Sprintf("Bản sao lưu thiếu các bản ghi từ %d đến %d; hãy khôi phục về một thời điểm trước đó bằng --to.", first, last),
		fmt.Sprintf("The records from %d to %d are missing in the backup: restore to a time before them with --to.", first, last))
}

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
	return fault.New(fault.DataLoss, "backup_object_damaged",
		fmt.Sprintf("%s bị hỏng trong bản sao lưu (%v); hãy khôi phục về một thời điểm trước đó bằng --to.", name, cause),
		fmt.Sprintf("%s is damaged in the backup (%v): restore to a time before it with --to.", name, cause))
}

func errPhotoUnknown(sum string) error {
	return fault.New(fault.NotFound, "backup_photo_unknown",
		fmt.Sprintf("Bản sao lưu không có ảnh %s.", sum), fmt.Sprintf("The backup has no photo %s.", sum))
}
