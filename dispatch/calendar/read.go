package calendar

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cong1022/fieldsync/dispatch/rows"
)

// Limits of a row's words, in characters.
const (
	MaxName   = 200
	MaxSource = 500
)

// header are the columns of a CSV file, in this order, and the keys of a JSON file.
var header = []string{"date", "kind", "vi", "en", "source"}

// Read reads the rows of a file. CSV has the header date,kind,vi,en,source; JSON is an array of objects with these keys. kind is
// holiday, day-off or make-up, and every row needs a source. An error of package rows names each bad row by its line (by its
// number in JSON), those that contradict each other included.
func Read(text []byte) ([]Row, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // Spreadsheets write one.
	var list []Row
	var bad rows.Errors
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '[' {
		list = readJSON(trimmed, &bad)
	} else {
		list = readCSV(text, &bad)
	}
	if len(list) == 0 && len(bad.Rows) == 0 {
		bad.Add(1, "tệp không có dòng nào", "the file has no rows")
	}
	if _, err := New(list); err != nil {
		bad.Rows = append(bad.Rows, rows.Of(err)...)
		slices.SortStableFunc(bad.Rows, func(a, b rows.Error) int { return a.Line - b.Line })
	}
	return list, bad.Err()
}

func readJSON(text []byte, bad *rows.Errors) (list []Row) {
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		bad.Add(1, "không phải là mảng JSON: "+err.Error(), "this is no JSON array: "+err.Error())
		return nil
	}
	for i, one := range raw {
		fields := map[string]string{}
		if err := json.Unmarshal(one, &fields); err != nil {
			bad.Add(i+1, "không phải là đối tượng với các giá trị chữ", "this is no object whose values are texts")
			continue
		}
		values := make([]string, len(header))
		for name, value := range fields {
			at := slices.Index(header, name)
			if at < 0 {
				bad.Add(i+1, fmt.Sprintf("không có cột %q", name), fmt.Sprintf("there is no column %q", name))
				continue
			}
			values[at] = value
		}
		list = appendRow(list, i+1, values, bad)
	}
	return list
}

func readCSV(text []byte, bad *rows.Errors) (list []Row) {
	reader := rows.CSV(text)
	for first := true; ; first = false {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if wrong := new(csv.ParseError); errors.As(err, &wrong) {
			bad.Add(wrong.Line, "không phải là CSV: "+wrong.Err.Error(), "this is no CSV: "+wrong.Err.Error())
			return list // What follows cannot be told apart any more.
		}
		line, _ := reader.FieldPos(0)
		switch {
		case first && !slices.Equal(record, header):
			bad.Add(line, "dòng đầu phải là "+strings.Join(header, ","), "the first row must be "+strings.Join(header, ","))
			return nil
		case first:
		case len(record) != len(header):
			bad.Add(line, fmt.Sprintf("có %d cột, cần %d", len(record), len(header)), fmt.Sprintf("has %d columns, needs %d", len(record), len(header)))
		default:
			list = appendRow(list, line, record, bad)
		}
	}
}

// Write writes rows as CSV, as Read reads them, without a line break at the end.
func Write(list []Row) (string, error) {
	var text strings.Builder
	w := csv.NewWriter(&text)
	records := [][]string{header}
	for _, row := range list {
		records = append(records, []string{row.Day.String(), row.Kind.String(), row.Vi, row.En, row.Source})
	}
	err := w.WriteAll(records)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// appendRow makes a row of the values of the columns, or notes what is wrong with them.
func appendRow(list []Row, line int, values []string, bad *rows.Errors) []Row {
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	row := Row{Kind: kindNames[values[1]], Vi: values[2], En: values[3], Source: values[4], Line: line}
	var err error
	row.Day, err = ParseDay(values[0])
	switch {
	case err != nil:
		bad.Add(line, fmt.Sprintf("ngày %q không có thật, hãy ghi như 2026-02-17", values[0]), fmt.Sprintf("the date %q does not exist, write it like 2026-02-17", values[0]))
	case row.Kind == 0:
		bad.Add(line, fmt.Sprintf("loại %q không có: holiday, day-off hoặc make-up", values[1]), fmt.Sprintf("there is no kind %q: it is holiday, day-off or make-up", values[1]))
	case row.check(bad):
		return append(list, row)
	}
	return list
}

// check asks of a row what New does not, and notes what is wrong with it.
func (r Row) check(bad *rows.Errors) bool {
	length := utf8.RuneCountInString
	switch {
	case r.Day.Month == 0:
		bad.Add(r.Line, "ngày không có thật, hãy ghi như 2026-02-17", "the date does not exist, write it like 2026-02-17")
	case r.Kind < Holiday || r.Kind > MakeUp:
		bad.Add(r.Line, "loại ngày không có", "there is no such kind of day")
	case r.Vi == "" || r.En == "" || length(r.Vi) > MaxName || length(r.En) > MaxName:
		bad.Add(r.Line, fmt.Sprintf("cần tên vi và en, mỗi tên 1 đến %d ký tự", MaxName), fmt.Sprintf("needs names vi and en, 1 to %d characters each", MaxName))
	case r.Source == "" || length(r.Source) > MaxSource:
		bad.Add(r.Line, fmt.Sprintf("cần nguồn (văn bản quyết định), 1 đến %d ký tự", MaxSource), fmt.Sprintf("needs a source (who decided it), 1 to %d characters", MaxSource))
	default:
		return true
	}
	return false
}

// Check makes a calendar of rows that come from elsewhere than a file. An error of package rows names each bad one by its number.
func Check(list []Row) (*Calendar, error) {
	var bad rows.Errors
	for i := range list {
		list[i].Line = i + 1
		list[i].check(&bad)
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	return New(list)
}
