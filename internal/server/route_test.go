package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Protects the way of a new ticket through the whole house: by RPC and by GeoReport, it is its unit's from the first moment where its
// position or the old district tells, and waits in the city's queue where nothing does.
func TestNewTicketsFindTheirUnit(t *testing.T) {
	r := settled(t, testConfig(t))
	operator := client(t, false, r.token(t, "sep"))
	r.update(t, func(tx *store.Tx) error {
		for id, name := range map[string]string{"sai-gon": "Phường Sài Gòn", "ban-co": "Phường Bàn Cờ"} {
			if err := store.Put(tx, store.UnitKey(id), &fieldsyncv1.Unit{Id: id, Name: name}); err != nil {
				return err
			}
		}
		return nil
	})
	territory := fieldsyncv1connect.NewTerritoryServiceClient(operator, r.url)
	if _, err := territory.PutAreas(t.Context(), &fieldsyncv1.PutAreasRequest{Geojson: []byte(`{"type":"FeatureCollection","features":[
		{"type":"Feature","properties":{"unit":"sai-gon"},"geometry":{"type":"Polygon","coordinates":[[[106.69,10.77],[106.71,10.77],[106.71,10.79],[106.69,10.79],[106.69,10.77]]]}}]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := territory.PutSuccessions(t.Context(), &fieldsyncv1.PutSuccessionsRequest{Csv: []byte("old_district,old_ward,new_unit\nQuận 3,,ban-co\n")}); err != nil {
		t.Fatal(err)
	}
	desk := fieldsyncv1connect.NewDispatchServiceClient(operator, r.url)
	units := func() map[string]string {
		t.Helper()
		all, err := desk.ListTickets(t.Context(), &fieldsyncv1.ListTicketsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, ticket := range all.GetTickets() {
			found[ticket.GetFacts().GetTitle()] = ticket.GetFacts().GetUnitId()
		}
		return found
	}
	inside := &fieldsyncv1.Position{Latitude: 10.78, Longitude: 106.70}
	batch := &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{
		{HotlineId: "1", Category: "noise", Title: "by position", Position: inside, Address: "5 Võ Văn Tần, Quận 3"},
		{HotlineId: "2", Category: "noise", Title: "by the old district", Address: "5 Võ Văn Tần, Q.3"},
		{HotlineId: "3", Category: "noise", Title: "named", Position: inside, UnitId: "ban-co"},
		{HotlineId: "4", Category: "noise", Title: "nothing tells", Address: "gần chợ"},
	}}
	intake := fieldsyncv1connect.NewHotlineServiceClient(operator, r.url)
	for range 2 {
		if _, err := intake.SubmitTickets(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	key, err := fieldsyncv1connect.NewIdentityServiceClient(operator, r.url).IssueApiKey(t.Context(), &fieldsyncv1.IssueApiKeyRequest{MemberId: "tong-dai"})
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"api_key": {key.GetApiKey()}, "service_code": {"noise"}, "title": {"by GeoReport"}, "lat": {"10.78"}, "long": {"106.70"}}
	if got := do(t, client(t, false, ""), http.MethodPost, r.url+"/open311/v2/requests.json", "application/x-www-form-urlencoded", strings.NewReader(form.Encode())); got.status != http.StatusCreated {
		t.Fatal(got)
	}
	want := map[string]string{"by position": "sai-gon", "by the old district": "ban-co", "named": "ban-co", "nothing tells": "city", "by GeoReport": "sai-gon"}
	if got := units(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the tickets went to %v, want %v", got, want)
	}
	// What the intake indexed, the hints find: the same place and kind, by whichever way it came.
	all, err := desk.ListTickets(t.Context(), &fieldsyncv1.ListTicketsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first := slices.IndexFunc(all.GetTickets(), func(ticket *fieldsyncv1.Ticket) bool { return ticket.GetHotlineId() == "1" })
	hints, err := fieldsyncv1connect.NewAssignmentServiceClient(operator, r.url).GetHints(t.Context(), &fieldsyncv1.GetHintsRequest{TicketId: all.GetTickets()[first].GetId()})
	if err != nil || len(hints.GetHints()) != 2 || hints.GetHints()[0].GetFinding().GetCode() != "duplicate_likely" {
		t.Errorf("hints: %v, %v", hints, err)
	}
	queue, err := desk.ListTickets(t.Context(), &fieldsyncv1.ListTicketsRequest{UnroutedOnly: true})
	if err != nil || len(queue.GetTickets()) != 1 || queue.GetTickets()[0].GetFacts().GetTitle() != "nothing tells" {
		t.Errorf("the queue holds %v, %v", queue, err)
	}
}
