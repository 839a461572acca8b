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

// errTaken and errRepositoryForeign are why a server does not ship into a repository that another one ships into.

func errTaken(by Object) error {
	at := moment(by.At)
	return fault.New(fault.Precondition, "backup_repository_taken",
		fmt.Sprintf("Từ %s một máy chủ khác ghi vào nơi sao lưu này (nhật ký %016x), nên máy chủ này ngừng sao lưu; mỗi máy chủ cần nơi sao lưu riêng "+
			"(backup.repository). Nếu máy chủ này mới là máy được ghi vào đây, hãy dừng máy kia rồi xóa đối tượng %s.", at, by.Journal, by.Name),
		fmt.Sprintf("Another server writes into this repository since %s (journal %016x), so this one does not any more: each needs a repository of its "+
			"own (backup.repository). If it is this one that is to write there, stop the other and remove the object %s.", at, by.Journal, by.Name))
}

func errRepositoryForeign(of Object) error {
	at := moment(of.At)
	return fault.New(fault.Precondition, "backup_repository_foreign",
		fmt.Sprintf("Nơi sao lưu chứa bản sao lưu của máy chủ khác (nhật ký %016x, đến %s) mà dữ liệu ở đây không bắt nguồn từ đó; hãy dùng nơi sao lưu riêng (backup.repository).", of.Journal, at),
		fmt.Sprintf("The repository holds the backup of another server (journal %016x, up to %s), from which the data here does not come: "+
			"give this server a repository of its own (backup.repository).", of.Journal, at))
}

// errForked is for a server whose journal's record of that number is not what the repository has, or has not got it.
func errForked(sequence uint64) error {
	return fault.New(fault.Precondition, "backup_forked",
		fmt.Sprintf("Nơi sao lưu có bản ghi %d khác với nhật ký của máy chủ này: thư mục dữ liệu đã bị sao chép hoặc đưa về trạng thái cũ. Hãy dừng máy chủ, rồi khôi phục "+
			"từ bản sao lưu (fieldsync restore) để dùng tiếp dữ liệu ở đó, hoặc bắt đầu nhật ký mới (fieldsync rebuild --journal) để dùng tiếp dữ liệu ở đây.", sequence),
		fmt.Sprintf("The repository has another record %d than this server's journal: the data folder was copied, or put back to an older state. Stop the server, "+
			"and restore from the backup to go on with what that holds (`fieldsync restore`), or begin another journal to go on with what is here (`fieldsync rebuild --journal`).", sequence))
}

// errFull is for a repository that has no room.
func errFull(cause error) error {
	return fault.New(fault.Unavailable, "backup_repository_full",
		fmt.Sprintf("Nơi sao lưu đã đầy (%v); hãy thêm dung lượng hoặc giảm backup.keep_days. Máy chủ tự gửi tiếp khi có chỗ.", cause),
		fmt.Sprintf("The repository is full (%v): give it more room, or lower backup.keep_days. The server goes on by itself when there is room.", cause))
}

// errHistories is for a repository into which several servers have shipped at the same time.
func errHistories(spans []span) error {
	var vi, en []string
	for _, s := range spans {
		vi = append(vi, fmt.Sprintf("%016x từ %s đến %s", s.Journal, moment(s.From), moment(s.To)))
		en = append(en, fmt.Sprintf("%016x from %s to %s", s.Journal, moment(s.From), moment(s.To)))
	}
	return fault.New(fault.Precondition, "backup_histories",
		fmt.Sprintf("Nhiều máy chủ đã cùng ghi vào nơi sao lưu: nhật ký %s. Khi khôi phục, hãy chọn một bằng --journal.", strings.Join(vi, ", ")),
		fmt.Sprintf("Several servers have written into the repository at the same time: the journals %s. A restore needs one of them with --journal.", strings.Join(en, ", ")))
}

// errMixed is why records do not follow on those before them.
var errMixed = errors.New("it does not follow on the records before it")

// errPartMixed is for a part of another history than those before it, which go until reached where that is known.
func errPartMixed(name string, reached time.Time) error {
	vi, en := "", ""
	if !reached.IsZero() {
		at := moment(reached)
		vi, en = fmt.Sprintf(", hoặc khôi phục về %s bằng --to", at), fmt.Sprintf(", or restore to %s with --to", at)
	}
	return fault.New(fault.DataLoss, "backup_part_mixed",
		fmt.Sprintf("%s không nối tiếp các bản ghi trước: hai bản sao của một thư mục dữ liệu đã cùng ghi vào nơi sao lưu. Hãy dời các đối tượng của bản không dùng đi%s.", name, vi),
		fmt.Sprintf("%s does not follow on the records before it: two copies of one data folder have written into the repository. Move the objects of the one that is not wanted away%s.", name, en))
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
	if strings.HasPrefix(name, kindWriter+"/") {
		return fault.New(fault.DataLoss, "backup_object_damaged",
			fmt.Sprintf("%s bị hỏng trong bản sao lưu (%v); dữ liệu không nằm trong đó: hãy xóa đối tượng này.", name, cause),
			fmt.Sprintf("%s is damaged in the backup (%v): no data is in it, remove the object.", name, cause))
	}
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
