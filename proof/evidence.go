package proof

import (
	"fmt"
	"strings"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// completionPhotos are the photos that the task's completion stands on. A damaged one gives its place to the photo that was
// taken in its stead: the crew cannot name that one in a completion that it has made already.
func completionPhotos(task *fieldsyncv1.Task) []*fieldsyncv1.Photo {
	byID := make(map[string]*fieldsyncv1.Photo, len(task.GetPhotos()))
	inStead := map[string]*fieldsyncv1.Photo{}
	for _, photo := range task.GetPhotos() {
		byID[photo.GetId()] = photo
		// The last that is not damaged itself; else the last.
		if old := photo.GetReplacesPhotoId(); old != "" && (inStead[old] == nil || photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED) {
			inStead[old] = photo
		}
	}
	var photos []*fieldsyncv1.Photo
	taken := map[string]bool{}
	for _, id := range task.GetCompletion().GetPhotoIds() {
		photo := byID[id]
		// Photos replace each other in the order in which they were attached, so this ends; the count is for records that are not ours.
		for range task.GetPhotos() {
			next := inStead[photo.GetId()]
			if photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED || next == nil {
				break
			}
			photo = next
		}
		if photo != nil && !taken[photo.GetId()] {
			taken[photo.GetId()] = true
			photos = append(photos, photo)
		}
	}
	return photos
}

// waiting says what a completion waits for; nil where it waits for nothing.
func waiting(photos []*fieldsyncv1.Photo) *fieldsyncv1.Sentence {
	var onPhone, received, damaged int
	for _, photo := range photos {
		switch photo.GetState() {
		case fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED:
		case fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED:
			received++
		case fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED:
			damaged++
		default:
			onPhone++
		}
	}
	var vi, en []string
	add := func(count int, viText, enText string) {
		if count > 0 {
			vi = append(vi, fmt.Sprintf("%d trong %d ảnh %s", count, len(photos), viText))
			en = append(en, fmt.Sprintf("%d of %d photos %s", count, len(photos), enText))
		}
	}
	add(onPhone, "trên điện thoại", "still on the phone")
	add(received, "đang được kiểm tra", "being checked")
	add(damaged, "bị hỏng, cần chụp lại", "damaged, to be taken again")
	if en == nil {
		return nil
	}
	return &fieldsyncv1.Sentence{Vi: "Còn " + strings.Join(vi, "; "), En: strings.Join(en, "; ")}
}
