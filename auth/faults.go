package auth

import (
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

// What this room tells its callers, in one place so that the two languages stay together.

func errTokenMissing() error {
	return fault.New(fault.Unauthenticated, "token_missing",
		"Thiếu mã truy cập: hãy gửi tiêu đề Authorization: Bearer.",
		"No access token: send the header Authorization: Bearer.")
}

func errTokenInvalid() error {
	return fault.New(fault.Unauthenticated, "token_invalid",
		"Mã truy cập không hợp lệ: hãy lấy mã mới bằng khóa của thiết bị.",
		"The access token is not valid: get a new one with the device's key.")
}

func errTokenExpired() error {
	return fault.New(fault.Unauthenticated, "token_expired",
		"Mã truy cập đã hết hạn: hãy lấy mã mới bằng khóa của thiết bị.",
		"The access token has expired: get a new one with the device's key.")
}

func errDeviceRevoked() error {
	return fault.New(fault.Unauthenticated, "device_revoked",
		"Thiết bị này đã bị thu hồi quyền: hãy xóa dữ liệu đang giữ và liên hệ điều phối viên; việc chưa gửi vẫn gửi được để xem xét.",
		"This device has been revoked: erase what it holds and ask a dispatcher; what is unsent can still be delivered for review.")
}

func errGrantExpired() error {
	return fault.New(fault.Unauthenticated, "grant_expired",
		"Thiết bị đã quá lâu không kết nối nên hết quyền: hãy xin mã mới rồi đăng ký lại; việc chưa gửi vẫn còn và sẽ được gửi.",
		"The device was not seen for too long and has lost its rights: ask for a code and enrol it anew; what is unsent stays and will be sent.")
}

func errKeyRevoked() error {
	return fault.New(fault.Unauthenticated, "device_revoked",
		"Khóa của thiết bị này đã bị thu hồi vĩnh viễn: hãy tạo khóa mới rồi đăng ký lại bằng chính mã này.",
		"The key of this device has been revoked for good: make a new key, then enrol with the same code.")
}

// errDeviceUnknown is kind NotFound for who asks about a device, and Unauthenticated for who claims to be one.
func errDeviceUnknown(kind fault.Kind) error {
	return fault.New(kind, "device_unknown", "Không có thiết bị này.", "There is no such device.")
}

func errMemberUnknown() error {
	return fault.New(fault.NotFound, "member_unknown", "Không có thành viên này.", "There is no such member.")
}

func errCodeInvalid() error {
	return fault.New(fault.Unauthenticated, "code_invalid",
		"Mã đăng ký sai, đã dùng hoặc đã hết hạn: hãy xin mã mới.",
		"The enrolment code is wrong, used or expired: ask for a new one.")
}

func errPublicKeyInvalid() error {
	return fault.New(fault.Invalid, "public_key_invalid",
		"Khóa công khai phải là SubjectPublicKeyInfo (DER) của một khóa P-256.",
		"The public key must be the SubjectPublicKeyInfo (DER) of a P-256 key.")
}

func errProofInvalid() error {
	return fault.New(fault.Unauthenticated, "proof_invalid",
		"Chữ ký của thiết bị không hợp lệ.", "The device's proof is not valid.")
}

func errProofReplayed() error {
	return fault.New(fault.Unauthenticated, "proof_replayed",
		"Chữ ký này đã được dùng: hãy ký lại với jti mới.", "This proof was used before: sign another with a new jti.")
}

func errProofTime(now time.Time) error {
	f := fault.New(fault.Unauthenticated, "proof_time",
		"Đồng hồ của thiết bị lệch quá 5 phút: hãy ký lại theo giờ của máy chủ.",
		"The device's clock is more than 5 minutes off: sign again with the server's time.")
	f.ServerTime = now
	return f
}

func errRoleDenied() error {
	return fault.New(fault.Denied, "role_denied", "Vai trò của bạn không được làm việc này.", "Your role may not do this.")
}

func errAPIKeyInvalid() error {
	return fault.New(fault.Denied, "api_key_invalid",
		"Thiếu api_key, hoặc khóa sai, đã bị thay hay không còn quyền: hãy xin quản trị viên cấp khóa.",
		"The api_key is missing, wrong, replaced or without rights: ask an admin for one.")
}
