package backup

import "io"

// Step is a part of a backup's or a restore's work that may take long.
type Step int

// The steps, in their order.
const (
	StepSnapshot Step = iota // In bytes of the snapshot as it is in the store; as it comes, when it is restored.
	StepJournal              // In records of the journal when they are sent, in parts when they are restored.
	StepIndex                // In bytes: the index of a restored store is made.
	StepPhotos               // In photos.
)

// Progress hears how much of a step is done, and of how much: -1 where nobody knows.
type Progress func(step Step, done, total int64)

// telling is a reader of which Progress hears.
type telling struct {
	io.Reader

	done, total int64
	told        Progress
}

func (t *telling) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.done += int64(n)
	t.told(StepSnapshot, t.done, t.total)
	return n, err
}
