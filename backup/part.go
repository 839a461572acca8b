package backup

import (
	"time"

	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// part is a piece of the journal on its way.
type part struct {
	first, last uint64
	at          time.Time
	content     []byte
}

// collect makes the part that begins with the record from.
func collect(e *embedded.Engine, from uint64) (part, error) {
	j := e.Journal()
	w := journal.NewWriter(j.ID(), from)
	var newest []byte
	for record, err := range j.Records(from) {
		if err != nil {
			return part{}, err
		}
		w.Add(record.Payload)
		newest = append(newest[:0], record.Payload...)
		if len(w.Bytes()) >= partBytes {
			break
		}
	}
	at, err := commitTime(newest)
	return part{from, w.Next() - 1, at, w.Bytes()}, err
}
