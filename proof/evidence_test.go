package proof

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: a damaged or unchecked photo never counts as verified, the sentence says what is missing, and a photo that was
// taken again takes the place of the damaged one, through several damaged ones too.
func TestWhatACompletionStandsOn(t *testing.T) {
	const (
		received = fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED
		damaged  = fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED
	)
	photo := func(id string, state fieldsyncv1.PhotoState, replaces string) *fieldsyncv1.Photo {
		return &fieldsyncv1.Photo{Id: id, State: state, ReplacesPhotoId: replaces}
	}
	for _, test := range []struct {
		name    string
		photos  []*fieldsyncv1.Photo
		want    string
		waiting string
	}{
		{"all verified", []*fieldsyncv1.Photo{photo("a", verified, ""), photo("b", verified, "")}, "ab", ""},
		{
			"one of each",
			[]*fieldsyncv1.Photo{photo("a", damaged, ""), photo("b", received, ""), photo("c", onPhone, "")},
			"abc",
			"1 of 3 photos still on the phone; 1 of 3 photos being checked; 1 of 3 photos damaged, to be taken again",
		},
		{"taken again", []*fieldsyncv1.Photo{photo("a", damaged, ""), photo("x", verified, "a")}, "x", ""},
		{
			"taken again, still on the phone",
			[]*fieldsyncv1.Photo{photo("a", damaged, ""), photo("x", onPhone, "a")},
			"x",
			"1 of 1 photos still on the phone",
		},
		{"taken again twice", []*fieldsyncv1.Photo{photo("a", damaged, ""), photo("x", damaged, "a"), photo("y", verified, "x")}, "y", ""},
		{"taken again twice for the same", []*fieldsyncv1.Photo{photo("a", damaged, ""), photo("y", verified, "a"), photo("x", damaged, "a")}, "y", ""},
		{"a good one is not replaced", []*fieldsyncv1.Photo{photo("a", verified, ""), photo("x", verified, "a")}, "a", ""},
		{
			"in a circle",
			[]*fieldsyncv1.Photo{photo("a", damaged, "b"), photo("b", damaged, "a")},
			"ab",
			"2 of 2 photos damaged, to be taken again",
		},
	} {
		task := &fieldsyncv1.Task{Photos: test.photos, Completion: &fieldsyncv1.CompletionFacet{}}
		for _, p := range test.photos {
			if p.GetId() < "x" {
				task.Completion.PhotoIds = append(task.Completion.PhotoIds, p.GetId())
			}
		}
		got := ""
		for _, p := range completionPhotos(task) {
			got += p.GetId()
		}
		if said := waiting(completionPhotos(task), nil).GetEn(); said != test.waiting || test.name != "in a circle" && got != test.want {
			t.Errorf("%s: stands on %q, waits for %q; want %q, %q", test.name, got, said, test.want, test.waiting)
		}
	}
}

// Protects: whoever waits for photos is told on whose phone they are, and since when, in both languages.
func TestWaitingNamesThePhone(t *testing.T) {
	at := func(minute int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 11, 25, 7, minute, 0, 0, time.UTC))
	}
	photo := func(member string, state fieldsyncv1.PhotoState, declared *timestamppb.Timestamp) *fieldsyncv1.Photo {
		return &fieldsyncv1.Photo{State: state, MemberId: member, DeviceId: "phone of " + member, DeclaredAt: declared}
	}
	const onPhone = fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE
	said := waiting([]*fieldsyncv1.Photo{
		photo("an", onPhone, at(20)), photo("an", onPhone, at(15)), photo("binh", onPhone, at(30)),
		photo("an", fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED, at(1)), photo("gone", onPhone, nil),
	}, map[string]string{"an": "Nguyễn Văn An", "binh": "Trần Bình", "gone": ""})
	if want := "2 of 5 photos still on the phone of Nguyễn Văn An since 14:15 25/11/2026; " +
		"1 of 5 photos still on the phone of Trần Bình since 14:30 25/11/2026; 1 of 5 photos still on the phone"; said.GetEn() != want {
		t.Errorf("%q, want %q", said.GetEn(), want)
	}
	if want := "Còn 2 trong 5 ảnh trên điện thoại của Nguyễn Văn An từ 14:15 25/11/2026; "; !strings.HasPrefix(said.GetVi(), want) {
		t.Errorf("%q, want it to begin with %q", said.GetVi(), want)
	}
}
