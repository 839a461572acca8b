package media_test

import (
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
)

// Protects: what was drawn for review is flagged, or it would stand on no board and in no list, and what was not drawn is not.
func TestDrawnIsFlagged(t *testing.T) {
	h := newHouse(t, newFolder(t))
	h.task("t1")
	for share, want := range map[float64]bool{0: false, 1: true} {
		h.update(func(tx *store.Tx) error {
			record, err := store.Get(tx, store.TaskKey("t1"))
			if err != nil {
				return err
			}
			task, revision := record.GetTask(), store.NextRevision(record)
			task.Status.Review, task.Completion = false, &fieldsyncv1.CompletionFacet{Outcome: fieldsyncv1.Outcome_OUTCOME_WEATHER}
			if err := (media.ReviewRules{Share: share}).Apply(tx, task, revision); err != nil {
				return err
			}
			status := task.GetStatus()
			if task.GetCompletion().GetDrawnForReview() != want || status.GetReview() != want || want != (status.GetRevision() == revision) {
				t.Errorf("a share of %v: %v, %v at revision %d", share, task.GetCompletion(), status, revision)
			}
			return nil
		})
	}
}
