package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
)

// WriteNote writes one record into a file of its own, in the place of what was there. It is durable when WriteNote returns.
func WriteNote(path string, journal uint64, payload []byte) error {
	unfinished := path + ".unfinished"
	file, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(appendFrame(newFileHeader(journal, 1), journal, 1, payload))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// ReadNote reads what WriteNote wrote. A *DamageError where it is not as it was written, or belongs to another journal.
func ReadNote(path string, journal uint64) ([]byte, error) {
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	id, _, err := parseFileHeader(all)
	if err == nil && id != journal {
		err = errors.New("the file belongs to another journal")
	}
	if err != nil {
		return nil, &DamageError{File: path, Err: err}
	}
	r := &frameReader{r: bytes.NewReader(all[fileHeader:]), journal: journal, offset: fileHeader}
	_, payload, err := r.next()
	if err == nil && r.offset != int64(len(all)) {
		err = errCut
	}
	if err != nil {
		return nil, &DamageError{File: path, Offset: fileHeader, Sequence: 1, Err: err}
	}
	return payload, nil
}
