package media

import (
	"fmt"
	"math"
	"strconv"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/geo"
	"github.com/cong1022/fieldsync/media/picture"
)

// What counts as the same. Honest work must pass without a finding, so each bound leaves room: a finding costs a person's time.
const (
	// clockSlack is how far the camera's time may be from what the app says of the same moment by the same clock.
	clockSlack = 10 * time.Minute
	// siteRadiusM is how far from the ticket's point work on it may be: a point on a map stands for a house front or a crossing.
	siteRadiusM = 150
	// unknownAccuracyM is taken where a fix does not tell its accuracy.
	unknownAccuracyM = 100
	// certainty makes a 68 % radius one of about 99 %, for errors that are normal in two dimensions.
	certainty = 2
	// sameSpotM is how far one camera's fix and the app's may be apart beyond their accuracies.
	sameSpotM = 50
	// nearBits is the distance of perceptual hashes up to which two photos count as copies. Distances are even. Of 25 camera photos,
	// all copies that were compressed, made smaller, or brightened by a tenth stay within it, and those cropped by 2 % a side;
	// different photos are 22 or more apart, 31 on the average with a deviation of 4, so that of a million photos one in two
	// hundred would meet another by chance. At 10 it would be one in ten: too many for people to look at.
	nearBits = 8
	// alikeBits is the same for before and after: the same place must look somewhat alike.
	alikeBits = 4
)

// evidence is what a photo is judged by. All of it is at hand: judging has no effect and takes no time from a clock.
type evidence struct {
	photo  *fieldsyncv1.Photo
	look   *storagev1.Look
	ticket *fieldsyncv1.TicketFacet
	// reused are the other tickets that the same bytes were used for, near those that a near copy was, with its distance.
	reused int
	near   int
	bits   int
	// partners are the verified photos of the task that show the other side, before or after.
	partners []partner
}

type partner struct {
	photo *fieldsyncv1.Photo
	look  *storagev1.Look
}

// judge returns what speaks against the photo. The order is fixed, and so are the findings for the same evidence.
func judge(e evidence) []*fieldsyncv1.Finding {
	if e.look.GetDamage() != nil {
		return []*fieldsyncv1.Finding{e.look.GetDamage()}
	}
	var found []*fieldsyncv1.Finding
	add := func(finding *fieldsyncv1.Finding) {
		if finding != nil {
			found = append(found, finding)
		}
	}
	add(typeFinding(e))
	add(timeFinding(e))
	add(clockFinding(e.photo.GetCaptured()))
	add(cameraPlaceFinding(e))
	add(sitePlaceFinding(e))
	add(mockFinding(e))
	if e.photo.GetFromGallery() {
		add(finding("photo_from_gallery", true, "Ảnh được chọn từ thư viện, không chụp bằng ứng dụng.",
			"Picked from the gallery instead of taken with the app's camera."))
	}
	if e.reused > 0 {
		add(finding("photo_reused", true, "Đúng ảnh này đã được dùng cho phiếu khác.",
			"The very same photo was used for another ticket.", figure("tickets", float64(e.reused))))
	}
	if e.near > 0 {
		add(finding("photo_near_copy", true, "Ảnh gần như giống hệt ảnh của phiếu khác.",
			"Nearly the same picture as a photo of another ticket.",
			figure("tickets", float64(e.near)), figure("hamming_bits", float64(e.bits))))
	}
	for _, other := range e.partners {
		add(alikeFinding(e, other))
		add(apartFinding(e, other))
	}
	return found
}

func finding(code string, review bool, vi, en string, figures ...*fieldsyncv1.Figure) *fieldsyncv1.Finding {
	return &fieldsyncv1.Finding{Code: code, Review: review, Sentence: &fieldsyncv1.Sentence{Vi: vi, En: en}, Figures: figures}
}

func figure(name string, value float64) *fieldsyncv1.Figure {
	// Tenths: a figure is for people, and must be the same on every machine.
	return &fieldsyncv1.Figure{Name: name, Value: math.Round(value*10) / 10}
}

// damageFinding says what is wrong with bytes that are no photo; nil where nothing is.
func damageFinding(look picture.Look) *fieldsyncv1.Finding {
	switch look.Damage {
	case "":
		return nil
	case picture.NoImage:
		return finding("photo_no_image", true, "Tệp nhận được không phải là ảnh: hãy chụp lại.",
			"What arrived is not an image: take the photo again.")
	case picture.TooLarge:
		return finding("photo_too_large", true, "Ảnh quá lớn để kiểm tra (tối đa 50 megapixel): hãy chụp lại nhỏ hơn.",
			"The photo is too large to be checked (50 megapixels at the most): take it again, smaller.",
			figure("megapixels", float64(look.Width)*float64(look.Height)/1e6))
	default:
		return finding("photo_damaged", true, "Ảnh bị hỏng hoặc bị cắt cụt: hãy chụp lại.",
			"The photo is corrupt or cut off: take it again.")
	}
}

func typeFinding(e evidence) *fieldsyncv1.Finding {
	if found := e.look.GetLook().GetContentType(); family(found) != family(e.photo.GetContentType()) {
		return finding("photo_type_differs", false,
			fmt.Sprintf("Khai báo là %s nhưng thực tế là %s.", e.photo.GetContentType(), found),
			fmt.Sprintf("Declared as %s, but is %s.", e.photo.GetContentType(), found))
	}
	return nil
}

// timeFinding compares the camera's time with the app's. Both come from the phone's wall clock, right or wrong; where the app
// told none, the interval in the server's time has to do.
func timeFinding(e evidence) *fieldsyncv1.Finding {
	if e.look.GetLook().GetTakenAt() == nil {
		return nil
	}
	taken, captured := e.look.GetLook().GetTakenAt().AsTime(), e.photo.GetCaptured()
	off := outside(taken, captured)
	if wall := captured.GetWall(); wall != nil {
		off = taken.Sub(wall.AsTime())
	}
	if off.Abs() <= clockSlack {
		return nil
	}
	vi, en := "sau", "after"
	if off < 0 {
		vi, en = "trước", "before"
	}
	return finding("photo_time_differs", true,
		fmt.Sprintf("Máy ảnh ghi giờ chụp %s giờ khai báo %s.", vi, roundedVi(off)),
		fmt.Sprintf("By the camera's time it was taken %s %s the time claimed.", roundedEn(off), en),
		figure("difference_s", off.Seconds()))
}

// clockFinding notices a phone whose clock is wrong: its times are for display only, but whoever reads them should know.
func clockFinding(captured *fieldsyncv1.TimeInterval) *fieldsyncv1.Finding {
	if captured.GetWall() == nil {
		return nil
	}
	off := outside(captured.GetWall().AsTime(), captured)
	if off.Abs() <= clockSlack {
		return nil
	}
	return finding("photo_clock_off", false,
		fmt.Sprintf("Đồng hồ điện thoại lệch ít nhất %s.", roundedVi(off)),
		fmt.Sprintf("The phone's clock is off by at least %s.", roundedEn(off)),
		figure("difference_s", off.Seconds()))
}

// outside tells how far a time lies behind an interval, or, negative, before it.
func outside(at time.Time, interval *fieldsyncv1.TimeInterval) time.Duration {
	if earliest := interval.GetEarliest(); earliest != nil && at.Before(earliest.AsTime()) {
		return at.Sub(earliest.AsTime())
	}
	if latest := interval.GetLatest(); latest != nil && at.After(latest.AsTime()) {
		return at.Sub(latest.AsTime())
	}
	return 0
}

func cameraPlaceFinding(e evidence) *fieldsyncv1.Finding {
	camera, claimed := e.look.GetLook().GetPosition(), e.photo.GetPosition()
	if camera == nil || claimed == nil {
		return nil
	}
	distance, reach := geo.Metres(camera, claimed), reachM(camera)+reachM(claimed)
	if distance <= sameSpotM+reach {
		return nil
	}
	return finding("photo_place_differs", true,
		fmt.Sprintf("Vị trí do máy ảnh ghi cách vị trí khai báo %s.", metres(distance)),
		fmt.Sprintf("The camera's position is %s from the one claimed.", metres(distance)),
		figure("distance_m", distance), figure("accuracy_m", reach))
}

// sitePlaceFinding tells whether the photo was taken at the task: inside (no finding), uncertain, or outside, with the
// accuracy of both points counted in.
func sitePlaceFinding(e evidence) *fieldsyncv1.Finding {
	taken, site := e.photo.GetPosition(), e.ticket.GetPosition()
	if taken == nil {
		taken = e.look.GetLook().GetPosition()
	}
	if taken == nil || site == nil {
		return nil
	}
	distance, reach := geo.Metres(taken, site), reachM(taken)
	if site.GetAccuracyM() > 0 {
		reach += reachM(site)
	}
	figures := []*fieldsyncv1.Figure{figure("distance_m", distance), figure("accuracy_m", reach), figure("limit_m", siteRadiusM)}
	switch {
	case distance+reach <= siteRadiusM:
		return nil
	case distance-reach > siteRadiusM:
		return finding("photo_elsewhere", true,
			fmt.Sprintf("Chụp cách nơi làm việc %s (sai số %s).", metres(distance), metres(reach)),
			fmt.Sprintf("Taken %s from the place of the task (give or take %s).", metres(distance), metres(reach)), figures...)
	default:
		return finding("photo_place_uncertain", false,
			fmt.Sprintf("Không chắc ảnh được chụp tại nơi làm việc: cách %s, sai số %s.", metres(distance), metres(reach)),
			fmt.Sprintf("It is uncertain whether it was taken at the place of the task: %s away, give or take %s.", metres(distance), metres(reach)), figures...)
	}
}

func mockFinding(e evidence) *fieldsyncv1.Finding {
	if !e.photo.GetPosition().GetMock() {
		return nil
	}
	return finding("photo_mock_position", true, "Vị trí do một ứng dụng giả lập vị trí cung cấp.",
		"The position came from a mock location provider.")
}

func alikeFinding(e evidence, other partner) *fieldsyncv1.Finding {
	if e.look.PerceptualHash == nil || other.look.PerceptualHash == nil {
		return nil
	}
	bits := picture.Distance(e.look.GetPerceptualHash(), other.look.GetPerceptualHash())
	if bits > alikeBits {
		return nil
	}
	return finding("photo_before_after_alike", true,
		fmt.Sprintf("Ảnh trước và sau gần như giống nhau (ảnh %s).", other.photo.GetId()),
		fmt.Sprintf("Before and after look the same (photo %s).", other.photo.GetId()), figure("hamming_bits", float64(bits)))
}

func apartFinding(e evidence, other partner) *fieldsyncv1.Finding {
	here, there := e.photo.GetPosition(), other.photo.GetPosition()
	if here == nil || there == nil {
		return nil
	}
	distance, reach := geo.Metres(here, there), reachM(here)+reachM(there)
	if distance <= siteRadiusM+reach {
		return nil
	}
	return finding("photo_before_after_apart", true,
		fmt.Sprintf("Ảnh trước và sau được chụp cách nhau %s (ảnh %s).", metres(distance), other.photo.GetId()),
		fmt.Sprintf("Before and after were taken %s apart (photo %s).", metres(distance), other.photo.GetId()),
		figure("distance_m", distance), figure("accuracy_m", reach))
}

// reachM is how far from a fix its true place may well be.
func reachM(p *fieldsyncv1.Position) float64 {
	if accuracy := float64(p.GetAccuracyM()); accuracy > 0 {
		return certainty * accuracy
	}
	return certainty * unknownAccuracyM
}

func metres(distance float64) string {
	if distance >= 10_000 {
		return strconv.FormatFloat(distance/1000, 'f', 0, 64) + " km"
	}
	return strconv.FormatFloat(distance, 'f', 0, 64) + " m"
}

func roundedEn(d time.Duration) string {
	switch d = d.Abs(); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	default:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
}

func roundedVi(d time.Duration) string {
	switch d = d.Abs(); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d ngày", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d giờ", d/time.Hour)
	default:
		return fmt.Sprintf("%d phút", d/time.Minute)
	}
}
