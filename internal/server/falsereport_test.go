package server

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// Protects citizens and crews: that a report was false is a second person's word on a dossier that they have seen; it names no citizen,
// stands in the proof log with the crew's completion, is counted, and can be taken back, which stands there too.
func TestFalseReport(t *testing.T) {
	r := settled(t, testConfig(t))
	task := r.assigned(t)
	crew := r.enrol(t, "an", t.TempDir())
	reports := func(member string) fieldsyncv1connect.FalseReportServiceClient {
		return fieldsyncv1connect.NewFalseReportServiceClient(client(t, true, r.token(t, member)), r.url)
	}
	desk, admin := reports("chi"), reports("sep")
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, err := crew.Task(task)
	if err != nil {
		t.Fatal(err)
	}
	hotlineID := held.Task.GetTicket().GetHotlineId()
	// The hotline says who reported, and where; the same number has reported another thing, and somebody else the same nearby.
	reporter := &fieldsyncv1.Reporter{Name: "Trần Văn Giả", Phone: "+84 900 000 001"}
	where := &fieldsyncv1.Position{Latitude: 10.8, Longitude: 106.7}
	_, err = fieldsyncv1connect.NewHotlineServiceClient(client(t, true, r.token(t, "tong-dai")), r.url).SubmitTickets(t.Context(), &fieldsyncv1.SubmitTicketsRequest{
		Tickets: []*fieldsyncv1.TicketIntake{
			{HotlineId: hotlineID, Category: "fallen-tree", Title: "Cây đổ", Reporter: reporter, Position: where},
			{HotlineId: "same-number", Category: "noise", Title: "Ồn", Reporter: &fieldsyncv1.Reporter{Phone: "0900000001"}},
			{HotlineId: "nearby", Category: "fallen-tree", Title: "Cây đổ", Position: &fieldsyncv1.Position{Latitude: 10.801, Longitude: 106.7}},
			{HotlineId: "elsewhere", Category: "fallen-tree", Title: "Cây đổ", Position: &fieldsyncv1.Position{Latitude: 10.9, Longitude: 106.7}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func() (*fieldsyncv1.GetDossierResponse, error) {
		return desk.GetDossier(t.Context(), &fieldsyncv1.GetDossierRequest{HotlineId: hotlineID})
	}
	confirm := func(by fieldsyncv1connect.FalseReportServiceClient, sum []byte) error {
		_, err := by.ConfirmFalseReport(t.Context(), &fieldsyncv1.ConfirmFalseReportRequest{HotlineId: hotlineID, DossierSha256: sum, Reason: "hai lần đến, không có gì"})
		return err
	}
	_, err = get()
	wantFault(t, err, "nothing_found_missing")
	wantFault(t, confirm(admin, make([]byte, 32)), "nothing_found_missing")
	if err := crew.Note(task, "đã hỏi ba nhà bên cạnh"); err != nil {
		t.Fatal(err)
	}
	if err := crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND, "không thấy cây đổ"); err != nil {
		t.Fatal(err)
	}
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}

	dossier, err := get()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(dossier.GetDossier())
	if d := dossier.GetDecoded(); !bytes.Equal(sum[:], dossier.GetSha256()) || len(d.GetVisits()) != 1 || d.GetVisits()[0].GetMemberId() != "an" ||
		len(d.GetVisits()[0].GetNotes()) != 1 || d.GetTaskId() != task || dossier.GetFalseReport() {
		t.Errorf("the dossier is %v", dossier)
	}
	similar := make(map[string]bool)
	for _, call := range dossier.GetDecoded().GetSimilarCalls() {
		similar[call.GetHotlineId()] = call.GetSameReporter()
	}
	if same, nearby := similar["same-number"], similar["nearby"]; len(similar) != 2 || !same || nearby {
		t.Errorf("similar calls: %v", dossier.GetDecoded().GetSimilarCalls())
	}
	if bytes.Contains(dossier.GetDossier(), []byte(reporter.GetPhone())) ||
		bytes.Contains(dossier.GetDossier(), []byte(reporter.GetName())) || bytes.Contains(dossier.GetDossier(), []byte("900000001")) || dossier.GetDecoded().GetReporterRef() == "" {
		t.Errorf("the citizen %v stands in the dossier %v", reporter, dossier.GetDecoded())
	}
	wantFault(t, confirm(desk, make([]byte, 32)), "dossier_moved")
	_, err = admin.ReverseFalseReport(t.Context(), &fieldsyncv1.ReverseFalseReportRequest{HotlineId: hotlineID, Reason: "x"})
	wantFault(t, err, "not_confirmed")
	for range 2 { // The answer was lost.
		if err := confirm(desk, sum[:]); err != nil {
			t.Fatal(err)
		}
	}
	exported := func() (*receipt.Proven, *fieldsyncv1.Dossier) {
		t.Helper()
		got, err := admin.ExportFalseReport(t.Context(), &fieldsyncv1.ExportFalseReportRequest{HotlineId: hotlineID})
		if err != nil {
			t.Fatal(err)
		}
		keys := logKeys(t, r.url)
		proven, err := receipt.Verify(got.GetDecisionReceipt(), keys)
		if err != nil {
			t.Fatal(err)
		}
		seal, err := receipt.Verify(got.GetCompletionReceipt(), keys)
		if err != nil || seal.Kind != receipt.Sealed || proven.Kind != receipt.Decided {
			t.Fatal(seal, proven, err)
		}
		kept := &fieldsyncv1.Dossier{}
		if sum := sha256.Sum256(got.GetDossier()); !bytes.Equal(sum[:], proven.Record.GetDecision().GetDossierSha256()) {
			t.Error("the dossier is not the one that was decided on")
		}
		if err := proto.Unmarshal(got.GetDossier(), kept); err != nil {
			t.Fatal(err)
		}
		return proven, kept
	}
	if proven, kept := exported(); !proven.Record.GetDecision().GetConfirmed() || proven.Record.GetDecision().GetMemberId() != "chi" || kept.GetHotlineId() != hotlineID {
		t.Errorf("exported: %v, %v", proven.Record.GetDecision(), kept)
	}
	if _, err := admin.ReverseFalseReport(t.Context(), &fieldsyncv1.ReverseFalseReportRequest{HotlineId: hotlineID, Reason: "camera cho thấy có cây đổ"}); err != nil {
		t.Fatal(err)
	}
	if proven, _ := exported(); proven.Record.GetDecision().GetConfirmed() || proven.Record.GetDecision().GetMemberId() != "sep" {
		t.Errorf("exported after the reversal: %v", proven.Record.GetDecision())
	}
	if after, err := get(); err != nil || after.GetFalseReport() || len(after.GetDecisions()) != 2 {
		t.Errorf("after the reversal: %v, %v", after, err)
	}

	month := time.Now().In(time.FixedZone("+07", 7*60*60)).Format("2006-01")
	figures, err := admin.ListFalseReportFigures(t.Context(), &fieldsyncv1.ListFalseReportFiguresRequest{FromMonth: month, ToMonth: month})
	if err != nil || len(figures.GetFigures()) != 1 {
		t.Fatal(figures, err)
	}
	if f := figures.GetFigures()[0]; f.GetNothingFound() != 1 || f.GetConfirmed() != 1 || f.GetReversed() != 1 || f.GetMonth() != month {
		t.Errorf("figures %v", f)
	}
	_, err = admin.ListFalseReportFigures(t.Context(), &fieldsyncv1.ListFalseReportFiguresRequest{FromMonth: "2020-01", ToMonth: "2026-01"})
	wantFault(t, err, "months_invalid")
	_, err = admin.GetDossier(t.Context(), &fieldsyncv1.GetDossierRequest{HotlineId: "khong-co"})
	wantFault(t, err, "ticket_unknown")
}

func logKeys(t *testing.T, url string) receipt.Keys {
	t.Helper()
	response, err := http.Get(url + "/.well-known/fieldsync-log-keys.txt") //nolint:noctx // A test.
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := receipt.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	if c := new(connect.Error); !errors.As(err, &c) || info(c).GetCode() != code {
		t.Errorf("got %v, want the code %q", err, code)
	}
}
