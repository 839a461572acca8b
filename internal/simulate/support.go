package main

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// resolve lets a dispatcher look into the quarantine and decide on one mutation there.
func (w *world) resolve(a *action) string {
	set := w.desk()
	if a.who%2 == 0 {
		set = w.ward()
	}
	if set.busy || !set.enrolled {
		return set.name + " is busy"
	}
	client := fieldsyncv1connect.NewSupportServiceClient(set.phone.Client(), origin)
	var all []*fieldsyncv1.QuarantinedMutation
	for token := ""; ; {
		page, err := client.ListQuarantined(w.ctx, &fieldsyncv1.ListQuarantinedRequest{Limit: uint32(1 + a.how%3), PageToken: token}) //nolint:gosec // Small.
		if err != nil {
			return set.name + ": " + outcome(err)
		}
		all = append(all, page.GetMutations()...)
		if token = page.GetNextToken(); token == "" {
			break
		}
	}
	if len(all) == 0 {
		return set.name + ": " + nothing
	}
	q := all[a.what%len(all)]
	f := w.byKey[keyOf(q.GetMutation())]
	said := fmt.Sprintf("%s on %s of %s", set.name, q.GetCode(), q.GetDeviceId())
	switch a.op {
	case opDiscard:
		_, err := client.DiscardQuarantined(w.ctx, &fieldsyncv1.DiscardQuarantinedRequest{Id: q.GetId(), Reason: "reason"})
		return said + ": " + outcome(err)
	case opMend:
		if f == nil || f.kind != opNote && f.kind != opFuture {
			return said + ": " + nothing
		}
		m := proto.CloneOf(q.GetMutation())
		m.ProtoReflect().SetUnknown(nil)
		text := w.text(opMend)
		m.Intent = &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{Text: text}}
		mended := &fact{key: text, kind: opNote, task: f.task, at: f.at, on: make(map[*handset]bool)}
		w.facts = append(w.facts, mended)
		w.byKey[text] = mended
		answer, err := client.ReleaseQuarantined(w.ctx, &fieldsyncv1.ReleaseQuarantinedRequest{Id: q.GetId(), Mended: m, Reason: "reason"})
		mended.verdict = answer.GetVerdict()
		return said + " " + text + ": " + outcome(err)
	default:
		answer, err := client.ReleaseQuarantined(w.ctx, &fieldsyncv1.ReleaseQuarantinedRequest{Id: q.GetId(), Reason: "reason"})
		if err == nil && f != nil {
			f.verdict = answer.GetVerdict()
		}
		return said + ": " + outcome(err) + " " + answer.GetVerdict().GetCode()
	}
}

// checkSeen: a ward's dispatcher is shown only what its own people recorded.
func (w *world) checkSeen(t *truth, c call, member string, kept []*fieldsyncv1.QuarantinedMutation) {
	unit := t.members[member].GetUnitId()
	for _, q := range kept {
		crew := t.members[q.GetMemberId()].GetCrewId()
		if unit != "" && unit != units[0] && crewUnit(crew) != unit {
			w.failf("leak", "%s of %s is shown what %s of %s recorded", c.set.name, unit, q.GetMemberId(), crew)
		}
	}
}

func crewUnit(crew string) string {
	if i := slices.Index(crews, crew); i >= 0 {
		return units[1+i]
	}
	return ""
}

// resolved tells what a dispatcher decided on the fact in quarantine, nil where nobody has.
func (t *truth) resolved(key string) *storagev1.Resolution {
	for _, q := range t.settled {
		m := &fieldsyncv1.Mutation{}
		if proto.Unmarshal(q.GetMutation(), m) == nil && keyOf(m) == key {
			return q.GetResolution()
		}
	}
	return nil
}
