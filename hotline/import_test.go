package hotline

import (
	"os"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline/georeport"
)

// Protects the import: what the parser makes of a file is taken in, and importing it again changes nothing.
func TestImportTwice(t *testing.T) {
	h := newHouse(t)
	for _, want := range []fieldsyncv1.IntakeResult{created, unchanged} {
		file, err := os.Open("georeport/testdata/broken.json")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var tickets []*fieldsyncv1.TicketIntake
		err = georeport.Read(file, nil, func(ticket *fieldsyncv1.TicketIntake, _ int, _ *georeport.RowError) bool {
			if ticket != nil {
				tickets = append(tickets, ticket)
			}
			return true
		})
		if err != nil || len(tickets) == 0 {
			t.Fatalf("%d tickets, error %v", len(tickets), err)
		}
		for _, result := range h.submit(tickets...) {
			if result.GetResult() != want {
				t.Fatalf("%v, want %v", result, want)
			}
		}
	}
}
