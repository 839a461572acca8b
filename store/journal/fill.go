package journal

import (
	"os"
)

const (
	// fillBytes is how much is filled at a time. A sync of a record waits for that much of it at most.
	fillBytes = 1 << 20
	// fillBelow is up to which mean size of records filling pays: it saves a change of the file's length with each record, and
	// costs each byte once more.
	fillBelow = 128 << 10
)

// fillLater fills the newest segment with zeros beside its use, from some way behind a place, which is where its next record
// begins, up to where it is full, or until records are large. What it does not come to costs time, and nothing else: a record behind the file's end has
// the file made longer. So what goes wrong here, as a full disk, is left to the appending, which finds out by itself.
//
// It has a descriptor of its own: what goes wrong when pages are written is told once to each, and must not be told here
// instead of to Append.
func (j *Journal) fillLater(place int64) {
	j.end = place
	file, err := os.OpenFile(j.file.Name(), os.O_WRONLY, 0)
	if err != nil {
		j.log.Warn("journal: a file is not filled ahead", "error", err)
		return
	}
	j.filling, j.stop = make(chan struct{}), make(chan struct{})
	go func(ended, stop chan struct{}) {
		defer close(ended)
		defer file.Close()
		zeros := make([]byte, fillBytes)
		for from := place + fillBytes; from < j.max; from += fillBytes {
			select {
			case <-stop:
				return
			default:
			}
			if !j.fill(file, from, zeros[:min(fillBytes, j.max-from)]) {
				return
			}
		}
	}(j.filling, j.stop)
}

// fill writes zeros at a place, if no record has come so far, and has them on the disk.
func (j *Journal) fill(file *os.File, from int64, zeros []byte) bool {
	j.writing.Lock()
	ahead := j.end <= from && j.mean < fillBelow
	if ahead {
		_, err := file.WriteAt(zeros, from)
		ahead = err == nil
	}
	j.writing.Unlock()
	return ahead && datasync(file) == nil
}

// stopFilling waits until nothing is filled any more.
func (j *Journal) stopFilling() {
	if j.stop != nil {
		close(j.stop)
		<-j.filling
		j.stop = nil
	}
}
