package georeport

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Protects the import of what office programs write: any of three separators, a byte order mark, headings in Vietnamese, cells with
// separators, quotation marks and line breaks; and the same ticket as from JSON.
func TestCSV(t *testing.T) {
	for name, file := range map[string]string{
		"commas":                      "service_request_id,service_name,description,address,lat,long,requested_datetime\n1022-1,Cây ngã đổ,\"Cây me, bật gốc\",120 Nơ Trang Long,10.8113,106.6957,2026-11-23T07:40:00+07:00\n",
		"semicolons":                  "\xef\xbb\xbfMã phiếu;Lĩnh vực;Nội dung;Địa chỉ;Vĩ độ;Kinh độ;Thời gian;Ghi chú riêng\r\n1022-1;Cây ngã đổ;Cây me, bật gốc;120 Nơ Trang Long;10.8113;106.6957;2026-11-23T07:40:00+07:00;bỏ qua\r\n",
		"other names of the position": "service_request_id,service_name,description,address,Latitude,Longitude,requested_datetime\n1022-1,Cây ngã đổ,\"Cây me, bật gốc\",120 Nơ Trang Long,10.8113,106.6957,2026-11-23T07:40:00+07:00\n",
		"tabs":                        "Mã phiếu\tLĩnh vực\tNội dung\tĐịa chỉ\tVĩ độ\tKinh độ\tThời gian\n1022-1\tCây ngã đổ\tCây me, bật gốc\t120 Nơ Trang Long\t10.8113\t106.6957\t2026-11-23T07:40:00+07:00",
		"json":                        `[{"service_request_id":"1022-1","service_name":"Cây ngã đổ","description":"Cây me, bật gốc","address":"120 Nơ Trang Long","lat":10.8113,"long":106.6957,"requested_datetime":"2026-11-23T07:40:00+07:00"}]`,
	} {
		tickets, bad, err := readAll(strings.NewReader(file))
		if err != nil || len(bad) > 0 || len(tickets) != 1 {
			t.Errorf("%s: %v, %v, %v", name, tickets, bad, err)
			continue
		}
		if got := fmt.Sprint(tickets[0].GetHotlineId(), tickets[0].GetCategory(), tickets[0].GetTitle(), tickets[0].GetDescription(), tickets[0].GetAddress(),
			tickets[0].GetPosition().GetLatitude(), tickets[0].GetReportedAt().AsTime().Unix()); got != fmt.Sprint("1022-1", "cay-nga-do", "Cây ngã đổ", "Cây me, bật gốc", "120 Nơ Trang Long", 10.8113,
			time.Date(2026, 11, 23, 0, 40, 0, 0, time.UTC).Unix()) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Protects the good rows of a CSV file from the bad ones, and whoever has to mend it: each is named by its line and a reason; what
// makes the rest unreadable ends it with an error.
func TestBrokenCSV(t *testing.T) {
	tickets, bad, err := readAll(strings.NewReader("service_request_id,service_name,lat,long\n" +
		"a,Cây,10,106\n" + "b,Cây\n" + ",Cây,10,106\n" + "c,Cây,bắc,đông\n" + "d,Cây\xff,10,106\n" + "e,Cây \"đổ,10,106\n" + "f,\"Cây\nngã\",10,106\n" + "g,,,\n" + "h,Cây,,\n"))
	if err != nil {
		t.Fatal(err)
	}
	var good []string
	for _, ticket := range tickets {
		good = append(good, ticket.GetHotlineId())
	}
	if !slices.Equal(good, []string{"a", "f", "h"}) {
		t.Errorf("good are %v", good)
	}
	var lines []int
	for _, row := range bad {
		lines = append(lines, row.Line)
		if row.Reason.GetVi() == "" || row.Reason.GetEn() == "" {
			t.Errorf("line %d: the reason is %v", row.Line, row.Reason)
		}
	}
	if !slices.Equal(lines, []int{3, 4, 5, 6, 7, 10}) {
		t.Errorf("bad are the lines %v", lines)
	}
	for name, file := range map[string]string{
		"no id":        "ten,loai\n1,2\n",
		"CR alone":     "ma_phieu,loai\r1,a\r2,b\r",
		"a page":       "<html><body>404</body></html>",
		"a long row":   "ma_phieu,loai\n1,a\n2,\"" + strings.Repeat("x\n", MaxRowBytes),
		"a long head":  strings.Repeat("x", 2*MaxRowBytes),
		"nothing":      "",
		"a quote head": "\"ma_phieu",
	} {
		if _, _, err := readAll(strings.NewReader(file)); fault.CodeOf(err) != "georeport_invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Protects whoever takes what an office program saves by default for the CSV that it can save: the error says what the file is.
func TestForeignFiles(t *testing.T) {
	for file, want := range map[string]string{
		"\xff\xfem\x00a\x00":            "UTF-16",
		"m\x00a\x00_\x00,\x00\n\x00":    "UTF-16",
		"PK\x03\x04\x14\x00\r\n\r":      "workbook",
		"\xd0\xcf\x11\xe0\xa1\xb1":      "workbook",
		"\x1f\x8b\x08\x00\rx":           "archive",
		"M\xe3 phi\xeau,Lo\xe2i\n1,a\n": "not UTF-8",
	} {
		if _, _, err := readAll(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", file, err, want)
		}
	}
}

// Protects a sheet's last row: what office programs leave behind it, rows of empty cells, is no bad row.
func TestRowsOfEmptyCells(t *testing.T) {
	tickets, bad, err := readAll(strings.NewReader("service_request_id,service_name,lat,long\n,,,\na,Cây,,\n\n,\n, ,,\nb\n,,,\n,,,"))
	if err != nil || len(tickets) != 1 || len(bad) != 1 || bad[0].Line != 7 {
		t.Errorf("%v, %v, %v", tickets, bad, err)
	}
}

// Protects the reconciliation: what a status says, in the words of GeoReport and of the hotline.
func TestReadStates(t *testing.T) {
	var got []string
	err := ReadStates(strings.NewReader("Mã phiếu;Trạng thái\na;Đang xử lý\nb;Đã đóng\nc;open\nd;closed\ne;hmm\nf;\n;open\ng;Hoàn thành\n"),
		func(state State, bad *RowError) bool {
			if bad != nil {
				got = append(got, fmt.Sprint("bad ", bad.Line))
			} else {
				got = append(got, fmt.Sprint(state.HotlineID, " ", state.Closed))
			}
			return true
		})
	if want := []string{"a false", "b true", "c false", "d true", "bad 6", "bad 7", "bad 8", "g true"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

// Protects the server behind the import: whatever a CSV file holds, its tickets keep the rules, each bad row has a line and a reason,
// and an error has a code.
func FuzzCSV(f *testing.F) {
	for _, file := range []string{
		"service_request_id,service_name\n1,Cây\n", "Mã phiếu;Lĩnh vực\n1;\"a\"\"b\"\n", "ma_phieu\tloai\tlat\tlong\n1\tx\t91\t1\n",
		"\xef\xbb\xbfhotline_id,category,parent_id,reporter_phone\n1,a,2,3\n", "ma_phieu\n\"", "ma_phieu,status\r\n1,open\r\n",
	} {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		tickets, bad, err := readAll(strings.NewReader(string(file)))
		for _, ticket := range tickets {
			if err := protovalidate.Validate(ticket); err != nil {
				t.Errorf("a ticket breaks the rules: %v", err)
			}
		}
		for _, row := range bad {
			if row.Line < 1 || row.Reason.GetVi() == "" || row.Reason.GetEn() == "" {
				t.Errorf("a bad row without line or reason: %+v", row)
			}
		}
		if err != nil && fault.CodeOf(err) == "" {
			t.Errorf("an error without a code: %v", err)
		}
		_ = ReadStates(strings.NewReader(string(file)), func(state State, bad *RowError) bool {
			if bad == nil && state.HotlineID == "" {
				t.Error("a state of no ticket")
			}
			return true
		})
	})
}
