package media

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// PhotoRule says how many photos a completion should have.
type PhotoRule struct {
	// Before and After are counted by what the crew says that a photo shows.
	Before, After int
}

// ReviewRules decide what is noticed about a completion as a whole, and which completions a person looks at. The zero value
// asks for no photos and draws nothing.
type ReviewRules struct {
	// Share of all completions that is drawn, 0 to 1, and by how much each finding that wants review raises it. Crews cannot
	// know which: the draw is the server's own.
	Share, SharePerFinding float64
	// Photos is asked of every category that neither Categories nor Of says anything about. Only work that was done (repaired,
	// made safe) can be photographed, so nothing is asked of other outcomes.
	Photos     PhotoRule
	Categories map[string]PhotoRule
	// Of returns what is known of a category, nil where nothing is: how many photos it wants, unless Categories says so, and how
	// its tasks can end. Nil: nothing is known of any.
	Of func(tx *store.Tx, category string) (*fieldsyncv1.Category, error)
}

// Apply notes on the task's completion, which was sealed in this transaction, what is missing by the rules, and draws it for
// review or not; a drawn one flags the task, or nobody would come upon it. The caller saves the task, whose completion changes with revision anyway.
func (r ReviewRules) Apply(tx *store.Tx, task *fieldsyncv1.Task, revision uint64) error {
	completion := task.GetCompletion()
	var category *fieldsyncv1.Category
	if r.Of != nil {
		var err error
		if category, err = r.Of(tx, task.GetTicket().GetCategory()); err != nil {
			return err
		}
	}
	completion.Findings = append(r.missing(task, category), unusual(task, category)...)
	flagReview(task, completion.GetFindings(), revision)
	share := r.Share + r.SharePerFinding*float64(reviewable(task))
	if share <= 0 {
		return nil
	}
	var draw [8]byte
	if err := tx.Random(draw[:]); err != nil {
		return err
	}
	completion.DrawnForReview = float64(binary.BigEndian.Uint64(draw[:]))/math.MaxUint64 < share
	if status := task.GetStatus(); completion.GetDrawnForReview() && status != nil {
		status.Review, status.Revision = true, revision
	}
	return nil
}

// unusual notes an outcome that the category does not know.
func unusual(task *fieldsyncv1.Task, category *fieldsyncv1.Category) []*fieldsyncv1.Finding {
	if category == nil || slices.Contains(category.GetOutcomes(), task.GetCompletion().GetOutcome()) {
		return nil
	}
	return []*fieldsyncv1.Finding{finding("outcome_unusual", true,
		"Loại việc này thường không kết thúc như vậy.", "Tasks of this kind do not usually end like this.")}
}

func (r ReviewRules) missing(task *fieldsyncv1.Task, category *fieldsyncv1.Category) (found []*fieldsyncv1.Finding) {
	switch task.GetCompletion().GetOutcome() {
	case fieldsyncv1.Outcome_OUTCOME_REPAIRED, fieldsyncv1.Outcome_OUTCOME_MADE_SAFE:
	default:
		return nil
	}
	rule, ok := r.Categories[task.GetTicket().GetCategory()]
	switch photos := category.GetPhotos(); {
	case ok:
	case photos != nil:
		rule = PhotoRule{Before: int(photos.GetBefore()), After: int(photos.GetAfter())}
	default:
		rule = r.Photos
	}
	count := map[fieldsyncv1.PhotoKind]int{}
	for _, photo := range task.GetPhotos() {
		count[photo.GetKind()]++
	}
	if have := count[fieldsyncv1.PhotoKind_PHOTO_KIND_BEFORE]; have < rule.Before {
		found = append(found, finding("photos_before_missing", true,
			fmt.Sprintf("Có %d ảnh trước khi làm, loại việc này cần %d.", have, rule.Before),
			fmt.Sprintf("There are %d photos from before the work, this kind wants %d.", have, rule.Before),
			figure("photos", float64(have)), figure("wanted", float64(rule.Before))))
	}
	if have := count[fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER]; have < rule.After {
		found = append(found, finding("photos_after_missing", true,
			fmt.Sprintf("Có %d ảnh sau khi làm, loại việc này cần %d.", have, rule.After),
			fmt.Sprintf("There are %d photos from after the work, this kind wants %d.", have, rule.After),
			figure("photos", float64(have)), figure("wanted", float64(rule.After))))
	}
	return found
}

// reviewable counts the findings that want review, of the completion and of the task's photos.
func reviewable(task *fieldsyncv1.Task) (count int) {
	all := [][]*fieldsyncv1.Finding{task.GetCompletion().GetFindings()}
	for _, photo := range task.GetPhotos() {
		all = append(all, photo.GetFindings())
	}
	for _, findings := range all {
		for _, finding := range findings {
			if finding.GetReview() {
				count++
			}
		}
	}
	return count
}
