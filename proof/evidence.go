package proof

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
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

// vietnam is where the people are who read the sentences.
var vietnam = time.FixedZone("+07", 7*60*60)

// waiting says what a completion waits for, for photos on phones also on whose, and since when; nil where it waits for nothing.
// names knows the crew's members.
func waiting(photos []*fieldsyncv1.Photo, names map[string]string) *fieldsyncv1.Sentence {
	type phone struct {
		member, device string
		count          int
		since          *timestamppb.Timestamp
	}
	var phones []*phone
	var received, damaged int
	for _, photo := range photos {
		switch photo.GetState() {
		case fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED:
		case fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED:
			received++
		case fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED:
			damaged++
		default:
			i := slices.IndexFunc(phones, func(p *phone) bool { return p.device == photo.GetDeviceId() })
			if i < 0 {
				i = len(phones)
				phones = append(phones, &phone{member: photo.GetMemberId(), device: photo.GetDeviceId(), since: photo.GetDeclaredAt()})
			}
			phones[i].count++
			if at := photo.GetDeclaredAt(); at.AsTime().Before(phones[i].since.AsTime()) {
				phones[i].since = at
			}
		}
	}
	var vi, en []string
	add := func(count int, viText, enText string) {
		if count > 0 {
			vi = append(vi, fmt.Sprintf("%d trong %d ảnh %s", count, len(photos), viText))
			en = append(en, fmt.Sprintf("%d of %d photos %s", count, len(photos), enText))
		}
	}
	for _, p := range phones {
		viText, enText := "trên điện thoại", "still on the phone"
		if name := names[p.member]; name != "" {
			viText, enText = viText+" của "+name, enText+" of "+name
		}
		if p.since != nil {
			at := p.since.AsTime().In(vietnam).Format("15:04 02/01/2006")
			viText, enText = viText+" từ "+at, enText+" since "+at
		}
		add(p.count, viText, enText)
	}
	add(received, "đang được kiểm tra", "being checked")
	add(damaged, "bị hỏng, cần chụp lại", "damaged, to be taken again")
	if en == nil {
		return nil
	}
	return &fieldsyncv1.Sentence{Vi: "Còn " + strings.Join(vi, "; "), En: strings.Join(en, "; ")}
}

// namesOf looks up who has taken the photos. A member who is gone has no name.
func namesOf(tx *store.Tx, photos []*fieldsyncv1.Photo) (map[string]string, error) {
	names := map[string]string{}
	for _, photo := range photos {
		id := photo.GetMemberId()
		if _, known := names[id]; known || id == "" || photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
			continue
		}
		member, err := store.Get(tx, store.MemberKey(id))
		if err != nil {
			return nil, err
		}
		names[id] = member.GetName()
	}
	return names, nil
}
