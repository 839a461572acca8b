package media

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// maxOpenUploads bounds what one device can leave unfinished in the spool.
	maxOpenUploads = 200
	// maxTasks bounds the tasks that wait for one open upload, since one transaction verifies the photo in all of them.
	maxTasks = 8
)

// Declare implements the MediaService.
//
// It asks whether a device of the member has attached the photo, not whether it may see the task now: evidence must reach the city even
// when the task was given to another crew or closed meanwhile.
func (s *Service) Declare(ctx context.Context, req *fieldsyncv1.DeclareRequest) (*fieldsyncv1.DeclareResponse, error) {
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var upload *storagev1.Upload
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		record, photo, err := ownPhoto(tx, principal, req.GetTaskId(), req.GetPhotoId())
		if err != nil {
			return err
		}
		upload, err = s.declare(tx, record, photo)
		return err
	})
	if err != nil {
		return nil, err
	}
	lost, err := s.lost(ctx, upload)
	if err != nil {
		return nil, err
	}
	if lost {
		s.log.WarnContext(ctx, "an original is missing, and the phone is asked for it again", "upload", upload.GetId(), "device", upload.GetDeviceId())
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			upload, err = s.reopen(tx, upload.GetId(), req.GetTaskId())
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	answer := &fieldsyncv1.DeclareResponse{
		UploadId:   upload.GetId(),
		UploadPath: uploadsPath + upload.GetId(),
		Offset:     upload.GetSizeBytes(),
		State:      upload.GetState(),
	}
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		offset, err := s.spool.bytes.Size(ctx, upload.GetId())
		if err != nil {
			return nil, s.storeFailed(ctx, upload.GetId(), err)
		}
		answer.Offset = uint64(offset) //nolint:gosec // The size of a file.
	}
	return answer, nil
}

// ownPhoto returns the task and its photo if a device of the caller has attached it. NotFound "photo_unknown" otherwise, whatever is
// missing.
func ownPhoto(tx *store.Tx, by auth.Principal, task, id string) (*storagev1.TaskRecord, *fieldsyncv1.Photo, error) {
	record, err := store.Get(tx, store.TaskKey(task))
	if err != nil {
		return nil, nil, err
	}
	for _, photo := range record.GetTask().GetPhotos() {
		if photo.GetId() != id {
			continue
		}
		if own, err := ownDevice(tx, by, photo.GetDeviceId()); err != nil || own {
			return record, photo, err
		}
	}
	return nil, nil, fault.New(fault.NotFound, "photo_unknown",
		"Công việc không có ảnh này từ thiết bị này: hãy đồng bộ trước rồi thử lại.",
		"The task has no such photo of this device: sync first, then try again.")
}

// ownDevice tells whether a device is the caller's, or another one of the same member: a phone that was revoked and found again has a
// new key, and is a new device with the photos of the old one. Their hashes bind the bytes, whoever brings them.
func ownDevice(tx *store.Tx, by auth.Principal, id string) (bool, error) {
	if id == by.DeviceID || id == "" {
		return id != "", nil
	}
	device, err := store.Get(tx, store.DeviceKey(id))
	return device.GetMemberId() == by.MemberID && by.MemberID != "", err
}

// declare finds the device's upload of these bytes, or opens one.
func (s *Service) declare(tx *store.Tx, record *storagev1.TaskRecord, photo *fieldsyncv1.Photo) (*storagev1.Upload, error) {
	task := record.GetTask().GetId()
	known, err := store.Get(tx, store.DeviceUploadKey(photo.GetDeviceId(), photo.GetSha256()))
	if err != nil {
		return nil, err
	}
	if known == nil {
		if s.spool.full() {
			return nil, spoolFull()
		}
		return openUpload(tx, task, photo)
	}
	upload, err := store.Get(tx, store.UploadKey(known.GetId()))
	if err != nil {
		return nil, err
	}
	if upload == nil {
		return nil, fmt.Errorf("the upload %s of device %s is missing", known.GetId(), photo.GetDeviceId())
	}
	switch upload.GetState() {
	case fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED, fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED:
		// The bytes came for another task, or this photo was attached while they were being looked into.
		look, err := store.Get(tx, store.LookKey(upload.GetSha256()))
		if err != nil {
			return nil, err
		}
		if look == nil {
			return nil, fmt.Errorf("what was found in the upload %s is missing", upload.GetId())
		}
		return upload, s.settlePhotos(tx, record, upload, look)
	default:
	}
	if !slices.Contains(upload.GetTaskIds(), task) {
		if err := addTask(upload, task); err != nil {
			return nil, err
		}
		if err := store.Put(tx, store.UploadKey(upload.GetId()), upload); err != nil {
			return nil, err
		}
	}
	if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED {
		return upload, s.settlePhotos(tx, record, upload, nil)
	}
	return upload, nil
}

// addTask has a task wait for the upload.
func addTask(upload *storagev1.Upload, task string) error {
	if len(upload.GetTaskIds()) >= maxTasks {
		return fault.New(fault.Exhausted, "upload_tasks",
			fmt.Sprintf("Ảnh này đang được gửi cho %d công việc: hãy gửi xong rồi khai báo lại.", maxTasks),
			fmt.Sprintf("This photo is on its way for %d tasks: finish sending it, then declare it again.", maxTasks))
	}
	upload.TaskIds = append(upload.TaskIds, task)
	return nil
}

func spoolFull() error {
	full := fault.New(fault.Unavailable, "photo_spool_full",
		"Máy chủ đang có quá nhiều ảnh chờ xử lý: hãy giữ ảnh trên điện thoại và thử lại sau.",
		"Too many photos are waiting on the server: keep the photo on the phone and try again later.")
	full.RetryAfter = blobsRetryAfter
	return full
}

func openUpload(tx *store.Tx, task string, photo *fieldsyncv1.Photo) (*storagev1.Upload, error) {
	device := photo.GetDeviceId()
	if err := openUploadsBounded(tx, device); err != nil {
		return nil, err
	}
	// Ids of the store tell their age; the id of an upload stands in a URL and should tell nothing.
	var id [16]byte
	if err := tx.Random(id[:]); err != nil {
		return nil, err
	}
	upload := &storagev1.Upload{
		Id:          hex.EncodeToString(id[:]),
		DeviceId:    device,
		Sha256:      photo.GetSha256(),
		SizeBytes:   photo.GetSizeBytes(),
		ContentType: photo.GetContentType(),
		State:       fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE,
		CreatedAt:   tx.Timestamp(),
		TaskIds:     []string{task},
	}
	idOnly := &storagev1.Upload{Id: upload.GetId()}
	if err := store.Put(tx, store.DeviceUploadKey(device, upload.GetSha256()), idOnly); err != nil {
		return nil, err
	}
	if err := store.Put(tx, store.OpenUploadKey(device, upload.GetId()), idOnly); err != nil {
		return nil, err
	}
	return upload, store.Put(tx, store.UploadKey(upload.GetId()), upload)
}

// openUploadsBounded refuses one more upload of a device that has too many unfinished.
func openUploadsBounded(tx *store.Tx, device string) error {
	open := 0
	for _, err := range store.Scan(tx, store.OpenUploads(device), nil) {
		if err != nil {
			return err
		}
		if open++; open == maxOpenUploads {
			return fault.New(fault.Exhausted, "uploads_open",
				fmt.Sprintf("Thiết bị này có %d ảnh chưa gửi xong: hãy gửi xong bớt rồi thử lại.", maxOpenUploads),
				fmt.Sprintf("This device has %d unfinished uploads: finish some of them, then try again.", maxOpenUploads))
		}
	}
	return nil
}

// ownUpload returns the upload if it is one of the caller's devices'. NotFound "upload_unknown", one and the same, where
// there is none, where it is another's, and where the id is none.
func (s *Service) ownUpload(ctx context.Context, id string) (*storagev1.Upload, error) {
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	if !uploadID.MatchString(id) {
		return nil, uploadUnknown()
	}
	var upload *storagev1.Upload
	own := false
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if upload, err = store.Get(tx, store.UploadKey(id)); err == nil {
			own, err = ownDevice(tx, principal, upload.GetDeviceId())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !own {
		return nil, uploadUnknown()
	}
	return upload, nil
}

func uploadUnknown() error {
	return fault.New(fault.NotFound, "upload_unknown",
		"Không có lượt tải lên này: hãy khai báo lại ảnh.",
		"There is no such upload: declare the photo again.")
}
