package georeport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"buf.build/go/protovalidate"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func readAll(r io.Reader) (tickets []*fieldsyncv1.TicketIntake, bad []*RowError, err error) {
	err = Read(r, nil, func(ticket *fieldsyncv1.TicketIntake, _ int, row *RowError) bool {
		if row != nil {
			bad = append(bad, row)
		} else {
			tickets = append(tickets, ticket)
		}
		return true
	})
	return tickets, bad, err
}

// Protects the import of a real city's file: all fifty rows become tickets that SubmitTickets takes.
func TestChicago(t *testing.T) {
	file, err := os.Open("../../../shared/data/chicago-requests.json")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the shared folder with chicago-requests.json is not here; TestBrokenRows reads a file of the project's own")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tickets, bad, err := readAll(file)
	if err != nil || len(bad) != 0 || len(tickets) != 50 {
		t.Fatalf("%d tickets, bad rows %v, error %v", len(tickets), bad, err)
	}
	first := tickets[0]
	want := time.Date(2014, 5, 9, 19, 2, 21, 0, time.FixedZone("", -5*3600))
	if first.GetHotlineId() != "14-00684314" || first.GetCategory() != "pothole-in-street" || first.GetTitle() != "Pothole in Street" ||
		first.GetDescription() != "CDOT Inspect Public Way Survey Transfer Outcome" || first.GetAddress() != "1200 W 81ST ST, CHICAGO, IL, 60620" ||
		first.GetPosition().GetLatitude() != 41.74685764200721 || !first.GetReportedAt().AsTime().Equal(want) {
		t.Fatalf("the first row became %v", first)
	}
}

// Protects the good rows from the bad ones around them, and the person who has to mend a file: every bad row is named by its
// line, its id where it has one, and a reason in both languages.
func TestBrokenRows(t *testing.T) {
	file, err := os.Open("testdata/broken.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tickets, bad, err := readAll(file)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, ticket := range tickets {
		ids = append(ids, ticket.GetHotlineId())
	}
	if got := strings.Join(ids, " "); got != "VN-1 VN-2 638344 VN-16" {
		t.Fatalf("the good rows are %s", got)
	}
	if p := tickets[1].GetPosition(); p.GetLatitude() != 10.75 || p.GetLongitude() != 106.66 {
		t.Fatalf("coordinates in strings became %v", p)
	}
	if third := tickets[2]; third.GetPosition() != nil || third.GetReportedAt() != nil || third.GetTitle() != "006" || third.GetCategory() != "006" {
		t.Fatalf("a row of nulls became %v", third)
	}
	if last := tickets[3]; last.GetCategory() != "den-duong-tat" || last.GetDescription() != "Dân báo qua 1022\nĐã chuyển phường" {
		t.Fatalf("the row with notes became %v", last)
	}
	var got []string
	for _, row := range bad {
		got = append(got, row.Error())
		if row.Reason.GetVi() == "" || row.Reason.GetVi() == row.Reason.GetEn() {
			t.Errorf("%v has no reason in Vietnamese", row)
		}
	}
	want := []string{
		`line 14: service_request_id is missing: write the hotline's id of the ticket`,
		`line 15 (VN-5): service_name and service_code are missing: write what kind of thing it is`,
		`line 16 (VN-6): lat must be between -90 and 90`,
		`line 17 (VN-7): lat "10.7" and long "" are not two numbers: write them like 10.7769 and 106.7009, or leave both empty`,
		`line 18 (VN-8): requested_datetime "20/11/2025" is not an RFC 3339 time with an offset: write it like 2026-11-20T08:00:00+07:00`,
		`line 19 (VN-9): requested_datetime "2025-11-20T08:00:00" is not an RFC 3339 time with an offset: write it like 2026-11-20T08:00:00+07:00`,
		`line 20 (VN-10): service_name is neither a string nor a number: put it in quotation marks`,
		`line 21: JSON syntax error at byte 34 of the row, mend it there: invalid character 's' after object key:value pair`,
		`line 22: JSON syntax error at byte 94 of the row, mend it there: invalid character '}' looking for beginning of object key string`,
		`line 23: the row is not a JSON object: write it in {}`,
		`line 24: the row is not a JSON object: write it in {}`,
		`line 25: there is nothing between two commas: remove one`,
		`line 31 (VN-17): lat must be between -90 and 90`,
		"line 32 (bad\aid): service_request_id must have 1 to 100 printable characters",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("row error %d: got %q, want %q", i, got[i:], want[min(i, len(want)):])
		}
	}
}

// Protects a file from each way in which it can be no GeoReport file: what is readable is read, then the error says where it
// broke.
func TestBrokenFiles(t *testing.T) {
	const good = `{"service_request_id":"1","service_name":"a"}`
	for _, c := range []struct {
		name, text, want string
		tickets          int
	}{
		{"empty", " \n ", "line 2: it is empty", 0},
		{"an object", `{"requests":[]}`, "line 1: it must be a JSON array", 0},
		{"XML", "<service_requests/>", "line 1: it must be a JSON array", 0},
		{"an empty array", " [ ] \n", "", 0},
		{"a byte order mark", "\ufeff[" + good + "]", "", 1},
		{"Windows line ends", "[\r\n" + good + ",\r\n" + good + "\r\n]\r\n", "", 2},
		{"no end", "[" + good + ",\n", "line 2: the \"]\" that ends the array is missing", 1},
		{"cut in a row", "[" + good + ",\n{\"service_request_id\":", "line 2: the row that begins here does not end", 1},
		{"a bracket too few", "[\n{\"a\":{},\n" + good + "]", "line 2: the row that begins here does not end", 0},
		{"something behind", "[" + good + "]\n[]", "line 2: something follows", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			tickets, bad, err := readAll(strings.NewReader(c.text))
			if len(tickets) != c.tickets || len(bad) != 0 {
				t.Fatalf("%d tickets, bad rows %v", len(tickets), bad)
			}
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if fault.CodeOf(err) != "georeport_invalid" || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Protects the importer's memory, and the limits of a ticket: what is too long is refused by its name, never cut.
func TestLongRows(t *testing.T) {
	row := func(field, value string) string {
		return fmt.Sprintf(`{"service_request_id":"1","service_name":"a",%q:%q}`, field, value)
	}
	for _, c := range []struct{ row, want string }{
		{row("description", strings.Repeat("ự", 8000)), ""},
		{row("description", strings.Repeat("ự", 8001)), "description must have at most 8,000 characters"},
		{row("address", strings.Repeat("ự", 501)), "address must have at most 500 characters"},
		{row("service_name", strings.Repeat("ự", 301)), "service_name must have 1 to 100 characters"},
		{row("service_request_id", strings.Repeat("1", 101)), "service_request_id must have 1 to 100 printable characters"},
		{row("x", strings.Repeat("[", MaxRowBytes)), "the row is longer than 1 MiB: shorten it"},
		{strings.Repeat("[", MaxRowBytes/2+1) + strings.Repeat("]", MaxRowBytes/2+1), "the row is longer than 1 MiB: shorten it"},
		{row("x", strings.Repeat(" ", MaxRowBytes-100)), ""},
		{"{\"service_request_id\":\"1\",\"service_name\":\"\xff\"}", "the row is not UTF-8: save the file as UTF-8"},
	} {
		tickets, bad, err := readAll(strings.NewReader("[" + c.row + "," + row("y", "z") + "]"))
		switch {
		case err != nil:
			t.Fatal(err)
		case c.want == "" && len(tickets) != 2:
			t.Fatalf("a good row was refused: %v", bad)
		case c.want != "" && (len(tickets) != 1 || len(bad) != 1 || bad[0].Reason.GetEn() != c.want):
			t.Fatalf("%d tickets, bad rows %v, want %q", len(tickets), bad, c.want)
		}
	}
}

// Protects the caller from a reader's error taken for the end of the file, and lets it stop early.
func TestReaderErrorsAndStopping(t *testing.T) {
	broken := errors.New("the disk is gone")
	_, _, err := readAll(io.MultiReader(strings.NewReader(`[{"a":`), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want the reader's error", err)
	}
	var rows int
	err = Read(strings.NewReader("[1,2,3"), nil, func(*fieldsyncv1.TicketIntake, int, *RowError) bool { rows++; return rows < 2 })
	if err != nil || rows != 2 {
		t.Fatalf("%d rows, error %v; want to stop after 2", rows, err)
	}
}

// Protects the importer from any file at all: no panic, lines that rise, reasons in both languages, and only tickets that
// SubmitTickets takes.
func FuzzRead(f *testing.F) {
	broken, err := os.ReadFile("testdata/broken.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(broken), "", "[", "[]", "[,]", "[{}]", `["\`, "[\"\n]", "[\"\\\"\\\"}\n,1]", "[{]}]", `[{"service_request_id":1,"service_name":"x"}]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line := 1
		err := Read(strings.NewReader(text), nil, func(ticket *fieldsyncv1.TicketIntake, _ int, bad *RowError) bool {
			if (ticket == nil) == (bad == nil) {
				t.Fatal("a row is a ticket or an error")
			}
			if bad == nil {
				if err := protovalidate.Validate(ticket); err != nil {
					t.Fatal(err)
				}
				return true
			}
			if bad.Line < line || bad.Line > strings.Count(text, "\n")+1 || bad.Reason.GetVi() == "" || bad.Reason.GetEn() == "" {
				t.Fatalf("the row error is %+v", bad)
			}
			line = bad.Line
			return true
		})
		if err != nil && fault.CodeOf(err) != "georeport_invalid" {
			t.Fatal(err)
		}
	})
}

// Protects a ticket's checklist, deadline and escalation, which are its category's: a file names that by its id, or by its name in either
// language. Other names stay kinds of their own, as do codes of other cities.
func TestKinds(t *testing.T) {
	kinds := NewKinds([]*fieldsyncv1.Category{
		{Id: "fallen-tree", Name: &fieldsyncv1.Sentence{Vi: "Cây ngã đổ", En: "Fallen tree"}},
		{Id: "noise", Name: &fieldsyncv1.Sentence{Vi: "Tiếng ồn", En: "Lighting"}},
		{Id: "lighting", Name: &fieldsyncv1.Sentence{Vi: "Đèn", En: "Свет"}},
	})
	const file = "service_request_id,service_code,service_name,want\n" +
		"1,fallen-tree,Cây ngã đổ,fallen-tree\n" + "2,,CÂY NGÃ ĐỔ,fallen-tree\n" + "3,T01,Fallen tree,fallen-tree\n" + "4,fallen-tree,Ngập nước,fallen-tree\n" +
		"5,lighting,,lighting\n" + "6,,Tiếng ồn,noise\n" + "7,4fd3b167,Street Light Out,street-light-out\n" + "8,006,,006\n" + "9,,шум,шум\n"
	want := []string{"fallen-tree", "fallen-tree", "fallen-tree", "fallen-tree", "lighting", "noise", "street-light-out", "006", "шум"}
	var got []string
	err := Read(strings.NewReader(file), kinds, func(ticket *fieldsyncv1.TicketIntake, _ int, bad *RowError) bool {
		if bad != nil {
			t.Error(bad)
		}
		got = append(got, ticket.GetCategory())
		return true
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
