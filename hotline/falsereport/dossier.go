package falsereport

import (
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/internal/geo"
	"github.com/cong1022/fieldsync/store"
)

const (
	// similarWithin and similarMetres say what counts as a similar call.
	similarWithin = 30 * 24 * time.Hour
	similarMetres = 200
	// maxSimilar bounds how many a dossier names: the nearest in time come first, whatever else there is changes nothing.
	maxSimilar = 100
)

// write makes the dossier of a ticket as it stands, and its bytes.
func write(tx *store.Tx, f found) ([]byte, *fieldsyncv1.Dossier, error) {
	record := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(f.completion.GetRecord(), record); err != nil {
		return nil, nil, fmt.Errorf("the record of the completion %s is damaged: %w", f.completion.GetId(), err)
	}
	facts := f.ticket.GetFacts()
	sum := sha256.Sum256(f.completion.GetRecord())
	dossier := &fieldsyncv1.Dossier{
		HotlineId: facts.GetHotlineId(), TicketId: f.ticket.GetId(), TaskId: f.ticket.GetTaskId(), CompletionId: f.completion.GetId(),
		Category: facts.GetCategory(), ReportedAt: facts.GetReportedAt(), Position: facts.GetPosition(), Address: facts.GetAddress(),
		RecordSha256: sum[:],
	}
	marks, err := hotline.OpenReporterMarks(tx)
	if err != nil {
		return nil, nil, err
	}
	dossier.ReporterRef = marks.Of(facts.GetReporter())
	dossier.Visits = visits(f, record)
	for _, photo := range record.GetPhotos() {
		dossier.Photos = append(dossier.Photos, &fieldsyncv1.DossierPhoto{Fact: photo, DistanceM: distanceM(photo.GetPosition(), facts.GetPosition())})
	}
	if dossier.SimilarCalls, err = similarCalls(tx, f.ticket, marks); err != nil {
		return nil, nil, err
	}
	text, err := marshal(dossier)
	return text, dossier, err
}

// visits are the crews that had the task. A crew's notes go to the stretch in which it had it.
func visits(f found, record *fieldsyncv1.CompletionRecord) (list []*fieldsyncv1.Visit) {
	task := f.record.GetTask()
	for _, tenure := range f.record.GetTenures() {
		list = append(list, &fieldsyncv1.Visit{CrewId: tenure.GetCrewId(), From: tenure.GetFrom(), Until: tenure.GetUntil(), DistanceM: -1})
	}
	if len(list) == 0 {
		return nil
	}
	for _, note := range record.GetNotes() {
		visit := list[len(list)-1]
		for _, v := range list {
			if at := note.GetRecorded().GetLatest(); at != nil && v.GetUntil() != nil && at.AsTime().Before(v.GetUntil().AsTime()) {
				visit = v
				break
			}
		}
		visit.Notes = append(visit.Notes, note)
	}
	for _, v := range list {
		if v.GetCrewId() == record.GetCrewId() {
			v.MemberId, v.DeviceId, v.Completed, v.Position = record.GetMemberId(), record.GetDeviceId(), record.GetCompleted(), record.GetPosition()
			v.DistanceM = distanceM(record.GetPosition(), task.GetTicket().GetPosition())
		}
	}
	return list
}

// similarCalls are the other reports of the same kind nearby, and those of the same telephone number, around the time of this one.
func similarCalls(tx *store.Tx, ticket *storagev1.Ticket, marks hotline.ReporterMarks) (calls []*fieldsyncv1.SimilarCall, err error) {
	facts := ticket.GetFacts()
	reported, ref := facts.GetReportedAt().AsTime(), marks.Of(facts.GetReporter())
	for stub, err := range store.Scan(tx, store.TicketsReported(), store.TicketReportedKey(reported.Add(-similarWithin), "")) {
		if err != nil {
			return nil, err
		}
		if stub.GetFacts().GetReportedAt().AsTime().After(reported.Add(similarWithin)) || len(calls) == maxSimilar {
			break
		}
		if stub.GetId() == ticket.GetId() {
			continue
		}
		other, err := store.Get(tx, store.TicketKey(stub.GetId()))
		if err != nil {
			return nil, err
		}
		theirs := other.GetFacts()
		call := &fieldsyncv1.SimilarCall{
			HotlineId: theirs.GetHotlineId(), Category: theirs.GetCategory(), ReportedAt: theirs.GetReportedAt(),
			DistanceM:    distanceM(theirs.GetPosition(), facts.GetPosition()),
			SameReporter: ref != "" && marks.Of(theirs.GetReporter()) == ref,
		}
		near := theirs.GetCategory() == facts.GetCategory() && call.GetDistanceM() >= 0 && call.GetDistanceM() <= similarMetres
		if !near && !call.GetSameReporter() {
			continue
		}
		if task := other.GetTaskId(); task != "" {
			record, err := store.Get(tx, store.TaskKey(task))
			if err != nil {
				return nil, err
			}
			call.Outcome = record.GetTask().GetCompletion().GetOutcome()
		}
		decided, err := store.Get(tx, store.FalseReportKey(other.GetId()))
		if err != nil {
			return nil, err
		}
		call.FalseReport = found{decided: decided}.confirmed()
		calls = append(calls, call)
	}
	return calls, nil
}

// distanceM is the distance in whole metres; negative where one of the points is absent.
func distanceM(a, b *fieldsyncv1.Position) float64 {
	if a == nil || b == nil {
		return -1
	}
	return math.Round(geo.Metres(a, b))
}
