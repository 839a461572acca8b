package media

import (
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media/picture"
	"github.com/cong1022/fieldsync/store"
)

// The index of perceptual hashes. A hash is cut into four bands of 16 bits. Two hashes that differ in at most seven bits have
// a band in which they differ in at most one, so looking up each band, and each of its 16 neighbours, finds all of them: 68
// lookups, each of which meets one photo of 65,536. Of those that differ in eight, 96 in 100 are found: the others have just two
// in each band (8! / 2!^4 of 4^8). To find all would cost eight times the lookups.
const (
	bands    = 4
	bandBits = 16
	// maxCandidates bounds what one search reads, should very many photos look alike.
	maxCandidates = 4000
)

// reuse tells for how many other tickets the same bytes, and pictures near them, were used.
func reuse(tx *store.Tx, task *fieldsyncv1.Task, sha []byte, look *storagev1.Look) (reused, near, bits int, err error) {
	own := ticketOf(task)
	same := map[string]bool{}
	for place, err := range store.Scan(tx, store.PhotoPlaces(sha), nil) {
		if err != nil {
			return 0, 0, 0, err
		}
		if ticket := placeTicket(place); ticket != own {
			same[ticket] = true
		}
	}
	if look.PerceptualHash == nil {
		return len(same), 0, 0, nil
	}
	hash := look.GetPerceptualHash()
	alike, read := map[string]bool{}, 0
	bits = nearBits + 1
	for band := range uint8(bands) {
		for flip := -1; flip < bandBits; flip++ {
			probe := bandOf(hash, band)
			if flip >= 0 {
				probe ^= 1 << flip
			}
			for place, err := range store.Scan(tx, store.NearPhotos(band, probe), nil) {
				if err != nil {
					return 0, 0, 0, err
				}
				if read++; read > maxCandidates {
					return len(same), len(alike), bits, nil
				}
				distance := picture.Distance(hash, place.GetPerceptualHash())
				if ticket := placeTicket(place); distance <= nearBits && ticket != own && !same[ticket] {
					alike[ticket], bits = true, min(bits, distance)
				}
			}
		}
	}
	return len(same), len(alike), bits, nil
}

// remember enters a photo into the index, for those that come after it.
func remember(tx *store.Tx, task *fieldsyncv1.Task, photo *fieldsyncv1.Photo, look *storagev1.Look) error {
	place := &storagev1.PhotoPlace{
		TicketId: task.GetTicket().GetTicketId(), TaskId: task.GetId(), PhotoId: photo.GetId(),
		PerceptualHash: look.GetPerceptualHash(),
	}
	if err := store.Put(tx, store.PhotoPlaceKey(photo.GetSha256(), task.GetId(), photo.GetId()), place); err != nil {
		return err
	}
	if look.PerceptualHash == nil {
		return nil
	}
	for band := range uint8(bands) {
		key := store.NearPhotoKey(band, bandOf(look.GetPerceptualHash(), band), task.GetId(), photo.GetId())
		if err := store.Put(tx, key, place); err != nil {
			return err
		}
	}
	return nil
}

func bandOf(hash uint64, band uint8) uint16 {
	return uint16(hash >> (bandBits * band)) //nolint:gosec // The 16 bits of the band.
}

// ticketOf is what tells one ticket from another; a task that came from none stands for itself.
func ticketOf(task *fieldsyncv1.Task) string {
	if ticket := task.GetTicket().GetTicketId(); ticket != "" {
		return ticket
	}
	return task.GetId()
}

func placeTicket(place *storagev1.PhotoPlace) string {
	if place.GetTicketId() != "" {
		return place.GetTicketId()
	}
	return place.GetTaskId()
}
