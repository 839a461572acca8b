package backup

import (
	"crypto/sha256"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// partBytes is how much of the journal goes into one object at most, about.
const partBytes = 16 << 20

// part is a piece of the journal on its way.
type part struct {
	first, last uint64
	at          time.Time
	content     []byte
	// photos are those that its records speak of.
	photos [][sha256.Size]byte
}

// collect makes the part that begins with the record from.
func collect(e *embedded.Engine, from uint64) (p part, err error) {
	j := e.Journal()
	w := journal.NewWriter(j.ID(), from)
	for record, err := range j.Records(from) {
		if err != nil {
			return part{}, err
		}
		batch := new(storagev1.JournalBatch)
		if err := proto.Unmarshal(record.Payload, batch); err != nil {
			return part{}, fmt.Errorf("record %d of the journal: %w", record.Sequence, err)
		}
		for _, write := range batch.GetWrites() {
			sums, err := store.KeptBlobs(write.GetKey(), write.GetValue())
			if err != nil {
				return part{}, err
			}
			p.photos = append(p.photos, sums...)
		}
		w.Add(record.Payload)
		p.at = batch.GetAt().AsTime()
		if len(w.Bytes()) >= partBytes {
			break
		}
	}
	p.first, p.last, p.content = from, w.Next()-1, w.Bytes()
	return p, nil
}
