package main

import (
	"slices"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// restRounds is how many rounds a phone gets, without faults, to come to rest.
const restRounds = 6

// rest lets everything that is under way arrive, and then holds the phones, the server and the hotline against each other.
func (w *world) rest() {
	w.logf("rest")
	w.depth++
	for len(w.late) > 0 {
		w.logf("%s", w.deliver(0))
	}
	for range restRounds {
		if w.restRound() && w.drainFeed() {
			break
		}
	}
	w.now = w.now.Add(ladder)
	w.climb()
	w.check()
	w.depth--
	if w.bad == nil {
		w.checkRest()
	}
}

// restRound lets every phone sync and upload once. quiet: none of them found anything to do.
func (w *world) restRound() (quiet bool) {
	quiet = true
	for _, h := range w.sets[1:] {
		if h.gone || h == w.hotline() || w.lockedOut(h) {
			continue
		}
		w.now = w.now.Add(time.Minute)
		report, err := h.sync()
		quiet = quiet && err == nil && len(report.Verdicts)+report.Changed+report.Removed == 0 && !report.Reset
		if code := outcome(err); code == "device_unknown" {
			w.logf("%s is unknown and enrols: %s", h.name, outcome(h.enrol())) // The server was set back to before it.
		} else if err != nil {
			w.logf("%s: %s", h.name, code)
		}
		if len(report.Verdicts) > 0 {
			w.logf("%s:%s", h.name, verdictsOf(report))
		}
		if err := h.phone.Upload(w.ctx, nil); err != nil {
			w.logf("%s uploads: %s", h.name, outcome(err))
		}
	}
	w.climb()
	w.check()
	return quiet && w.bad == nil
}

// drainFeed lets the hotline read and acknowledge all that there is. quiet: there was nothing.
func (w *world) drainFeed() (quiet bool) {
	set := w.hotline()
	w.now = w.now.Add(time.Minute)
	client := fieldsyncv1connect.NewHotlineServiceClient(set.phone.Client(), origin)
	before := len(w.feed.read)
	for range 100 {
		said := w.readFeed(client, 3)
		if said == "0 completions, more: false" {
			break
		}
		if said == "device_unknown" {
			w.logf("the hotline is unknown and enrols: %s", outcome(set.enrol()))
		}
	}
	quiet = len(w.feed.read) == before && len(w.feed.unsure) == 0
	for len(w.feed.unsure) > 0 && w.bad == nil {
		left := len(w.feed.unsure)
		w.callHotline(&action{op: opConfirm, how: left - 1})
		if len(w.feed.unsure) == left {
			break
		}
	}
	return quiet
}

// checkRest holds everybody against everybody.
func (w *world) checkRest() {
	t := w.truth()
	for _, h := range w.sets[1:] {
		if h.gone || h == w.hotline() || w.lockedOut(h) {
			continue
		}
		s := h.status()
		if s.Queued > 0 || !s.Whole {
			w.failf("rest", "%s still has %d mutations and is whole: %t", h.name, s.Queued, s.Whole)
		}
		if s.PhotosWaiting > 0 && w.house.epochs == 0 {
			w.failf("rest", "%s still has %d photos", h.name, s.PhotosWaiting)
		}
		w.checkReplica(h)
		w.checkHeard(h)
	}
	for _, f := range w.facts {
		if f.verdict == nil && f.lives() {
			w.failf("silence", "%s was never judged", f.key)
		}
	}
	for i, id := range w.feed.read {
		if i >= len(t.feed) || t.feed[i].GetId() != id {
			w.failf("feed", "the hotline read %v, the feed is not so at %d", w.feed.read, i)
			return
		}
	}
	if len(w.feed.read) != len(t.feed) {
		w.failf("feed", "the hotline has read %d completions of %d", len(w.feed.read), len(t.feed))
	}
	for _, record := range t.tasks {
		w.checkDelivered(record.GetTask())
		w.checkClimbed(record)
	}
}

// checkDelivered: a completion whose photos can all arrive has been delivered.
func (w *world) checkDelivered(task *fieldsyncv1.Task) {
	completion := task.GetCompletion()
	if completion == nil || completion.GetProofState() == fieldsyncv1.ProofState_PROOF_STATE_DELIVERED {
		return
	}
	for _, photo := range task.GetPhotos() {
		if photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED || !slices.Contains(completion.GetPhotoIds(), photo.GetId()) {
			continue
		}
		if f := w.byKey[photo.GetId()]; f == nil || !f.lives() || w.house.epochs > 0 {
			return // Its bytes are on a phone that is lost, or went to a server that was set back.
		}
	}
	w.failf("delivered", "the completion of %s is %s and waits for nothing that could not come", task.GetId(), completion.GetProofState())
}
