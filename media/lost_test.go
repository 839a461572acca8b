package media_test

import (
	"crypto/sha256"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: an original that was lost after it had arrived, as by the restore of a backup that had not got it yet, is taken again from
// the phone that declares it anew, with its thumbnail, and until then nobody is told that it is here.
func TestLostOriginalIsTakenAgain(t *testing.T) {
	for _, thumbnail := range []bool{false, true} {
		t.Run(map[bool]string{false: "original", true: "original and thumbnail"}[thumbnail], func(t *testing.T) {
			h := newHouse(t, newFolder(t))
			photo := newPhoto(t)
			h.task("t1", photo)
			phone := h.as("phone-1")
			upload := phone.declare("t1", "p0")
			phone.send(upload.GetUploadPath(), photo)
			phone.commit(upload.GetUploadId())
			h.mustBe("t1", verified)

			lose := [][sha256.Size]byte{sha256.Sum256(photo)}
			if thumbnail {
				seen := phone.do("GET", "/v1/tasks/t1/photos/p0/thumbnail", nil)
				lose = append(lose, sha256.Sum256([]byte(seen.body)))
			}
			for _, sum := range lose {
				if err := h.blobs.Remove(t.Context(), sum); err != nil {
					t.Fatal(err)
				}
			}

			again := phone.declare("t1", "p0")
			if again.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE || again.GetOffset() != 0 {
				t.Fatalf("declared anew: %v at %d, want that it is on the phone", again.GetState(), again.GetOffset())
			}
			h.mustBe("t1", fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE)
			if twice := phone.declare("t1", "p0"); twice.GetUploadId() != again.GetUploadId() {
				t.Errorf("declared twice: %q and %q, want one upload", again.GetUploadId(), twice.GetUploadId())
			}
			phone.send(again.GetUploadPath(), photo)
			phone.commit(again.GetUploadId())
			h.mustBe("t1", verified)
			for _, path := range []string{"/v1/tasks/t1/photos/p0", "/v1/tasks/t1/photos/p0/thumbnail"} {
				if got := phone.do("GET", path, nil); got.status != 200 || got.body == "" {
					t.Errorf("GET %s: %d with %d bytes", path, got.status, len(got.body))
				}
			}
			if got := phone.declare("t1", "p0"); got.GetState() != verified {
				t.Errorf("declared once more: %v, want verified", got.GetState())
			}
		})
	}
}
