package embedded

import (
	"github.com/cong1022/fieldsync/store/journal"
)

// Journal is the engine's journal, to be read: what is shipped elsewhere. Appending is the engine's alone.
func (e *Engine) Journal() *journal.Journal { return e.journal }

// Snapshots lists the snapshots, oldest first. The oldest goes when there are two newer ones.
func (e *Engine) Snapshots() ([]journal.SnapshotInfo, error) {
	return journal.Snapshots(e.folder.journal())
}

// JournalFolder is where in the folder of a store the journal and its snapshots lie: what a restore fills.
func JournalFolder(dir string) string { return folder(dir).journal() }
