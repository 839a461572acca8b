package phone

import (
	"os"

	bolt "go.etcd.io/bbolt"
)

// firstPage is the first one that is not a meta page; these two hold no records.
const firstPage = 2

// scrub overwrites the pages that an erasure has freed. bbolt leaves in them what they held until it needs them, so whoever finds the phone
// could read there what is erased. Whether it is still to be done stands in the state, with the erasure: a crash in between puts it off
// until the next Open. What a flash drive keeps of overwritten blocks is the disk encryption's matter.
//
// An error is logged and no more: the erasure itself holds, and the phone must go on.
func (p *Phone) scrub() {
	due := false
	err := p.view(func(_ *bolt.Tx, st *state) error { due = st.Scrub; return nil })
	if err == nil && due {
		// Whoever still reads what was there before the erasure may end: freed pages are theirs as long. Who comes now finds them unused.
		p.reading.Lock()
		p.reading.Unlock() //nolint:staticcheck // Nothing is guarded, it is waited for.
		err = p.update(func(tx *bolt.Tx, st *state) error {
			if err := p.fail("scrub"); err != nil {
				return err
			}
			st.Scrub = false
			return overwriteFree(tx)
		})
	}
	if err != nil {
		p.log.Error("what was erased could not be overwritten; it will be at the next start", "error", err)
	}
}

// overwriteFree writes zeros over all pages that the database does not use as of the transaction before tx. These are what a crash of tx
// would fall back to, so nothing is touched that it needs.
func overwriteFree(tx *bolt.Tx) (err error) {
	file, err := os.OpenFile(tx.DB().Path(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}()
	blank := make([]byte, tx.DB().Info().PageSize)
	for id := firstPage; ; id++ {
		page, err := tx.Page(id)
		if err != nil {
			return err
		}
		if page == nil { // Behind the last one that was ever used.
			if tx.DB().NoSync {
				return nil
			}
			return file.Sync()
		}
		if page.Type != "free" {
			id += page.OverflowCount
			continue
		}
		if _, err := file.WriteAt(blank, int64(id)*int64(len(blank))); err != nil {
			return err
		}
	}
}
