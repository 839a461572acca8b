package georeport

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// columns are the names under which a CSV file may head a column, as slug writes them: GeoReport's own, and those of the hotline's
// sheets. Columns of other names are left alone.
var columns = map[string]func(*request) *text{
	"service-request-id": func(r *request) *text { return &r.ID },
	"hotline-id":         func(r *request) *text { return &r.ID },
	"ma-phieu":           func(r *request) *text { return &r.ID },
	"service-name":       func(r *request) *text { return &r.Name },
	"loai":               func(r *request) *text { return &r.Name },
	"linh-vuc":           func(r *request) *text { return &r.Name },
	"service-code":       func(r *request) *text { return &r.Code },
	"category":           func(r *request) *text { return &r.Code },
	"description":        func(r *request) *text { return &r.Description },
	"noi-dung":           func(r *request) *text { return &r.Description },
	"status-notes":       func(r *request) *text { return &r.StatusNotes },
	"address":            func(r *request) *text { return &r.Address },
	"dia-chi":            func(r *request) *text { return &r.Address },
	"lat":                func(r *request) *text { return &r.Lat },
	"latitude":           func(r *request) *text { return &r.Lat },
	"vi-do":              func(r *request) *text { return &r.Lat },
	"long":               func(r *request) *text { return &r.Long },
	"lng":                func(r *request) *text { return &r.Long },
	"longitude":          func(r *request) *text { return &r.Long },
	"kinh-do":            func(r *request) *text { return &r.Long },
	"requested-datetime": func(r *request) *text { return &r.Requested },
	"reported-at":        func(r *request) *text { return &r.Requested },
	"thoi-gian":          func(r *request) *text { return &r.Requested },
	"reporter-name":      func(r *request) *text { return &r.ReporterName },
	"nguoi-phan-anh":     func(r *request) *text { return &r.ReporterName },
	"reporter-phone":     func(r *request) *text { return &r.ReporterPhone },
	"so-dien-thoai":      func(r *request) *text { return &r.ReporterPhone },
	"parent-id":          func(r *request) *text { return &r.Parent },
	"phieu-goc":          func(r *request) *text { return &r.Parent },
	"status":             func(r *request) *text { return &r.Status },
	"trang-thai":         func(r *request) *text { return &r.Status },
}

// table reads the rows of a CSV file (RFC 4180), whose first line names the columns.
type table struct {
	csv     *csv.Reader
	lines   *bounded
	columns []func(*request) *text // Nil for one that means nothing here.
	line    int                    // Of the row read last.
}

// newTable reads the head. The separator is the one of comma, semicolon and tab that the first line has most of: office programs
// write what the country of the computer is used to.
func newTable(r *bufio.Reader) (*table, error) {
	head, err := r.Peek(4096)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		_, _ = r.Discard(3) // It was peeked: it is there.
		head = head[3:]
	}
	first, _, whole := bytes.Cut(head, []byte("\n"))
	if err := foreign(first, whole); err != nil {
		return nil, err
	}
	t := &table{lines: &bounded{r: r}, line: 1}
	t.csv = csv.NewReader(t.lines)
	t.csv.ReuseRecord = true
	for _, separator := range ",;\t" {
		if bytes.Count(first, []byte(string(separator))) > bytes.Count(first, []byte(string(t.csv.Comma))) {
			t.csv.Comma = separator
		}
	}
	names, err := t.csv.Read()
	if err != nil {
		return nil, &fileError{1, "dòng đầu phải ghi tên các cột", "the first line must name the columns"}
	}
	var hasID bool
	for _, name := range names {
		column := columns[slug(name)]
		hasID = hasID || isID(name)
		t.columns = append(t.columns, column)
	}
	if !hasID {
		return nil, &fileError{
			1, "không có cột service_request_id (hoặc \"Mã phiếu\")", "there is no column service_request_id (or \"Mã phiếu\")",
		}
	}
	return t, nil
}

// foreign tells by the first line what a file is that is no text in UTF-8. whole: the line ends within what was looked at.
func foreign(first []byte, whole bool) error {
	begins := func(signature string) bool { return bytes.HasPrefix(first, []byte(signature)) }
	switch {
	case begins("PK\x03\x04"), begins("\x1f\x8b"), begins("\xd0\xcf\x11\xe0"): // A zip file, which an .xlsx and an .ods are, gzip, an .xls.
		return &fileError{1, "tệp là bảng tính (.xlsx, .xls, .ods) hoặc tệp nén: hãy lưu lại thành CSV UTF-8", "it is a workbook (.xlsx, .xls, .ods) or an archive: save it as CSV in UTF-8"}
	case begins("\xff\xfe"), begins("\xfe\xff"), bytes.IndexByte(first, 0) >= 0:
		return &fileError{1, "tệp là UTF-16: hãy lưu lại thành CSV UTF-8", "it is UTF-16: save it as CSV in UTF-8"}
	case whole && !utf8.Valid(first):
		return &fileError{1, "dòng đầu không phải là UTF-8: hãy lưu lại thành CSV UTF-8", "the first line is not UTF-8: save it as CSV in UTF-8"}
	case bytes.IndexByte(bytes.TrimSuffix(first, []byte("\r")), '\r') >= 0: // All of the file would be its first line, and no row of it be told.
		return &fileError{
			1, "các dòng kết thúc bằng CR đơn (kiểu Macintosh cũ): hãy lưu lại thành CSV UTF-8", "its lines end in CR alone (an old Macintosh's): save it as CSV in UTF-8",
		}
	default:
		return nil
	}
}

func isID(name string) bool {
	name = slug(name)
	return name == "service-request-id" || name == "hotline-id" || name == "ma-phieu"
}

// next returns the next row and the line on which it begins. wrong tells what is wrong with it alone; err ends the file. Rows of empty
// cells, which office programs leave behind a sheet's last one, are stepped over.
func (t *table) next() (in request, line int, wrong *defect, err error) {
	t.lines.row()
	cells, err := t.csv.Read()
	for (err == nil || errors.Is(err, csv.ErrFieldCount)) && !slices.ContainsFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
		t.lines.row()
		cells, err = t.csv.Read()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, errRowTooLong) {
		return in, t.line + 1, nil, err
	}
	if len(cells) > 0 {
		t.line, _ = t.csv.FieldPos(0)
	}
	line = t.line
	var syntax *csv.ParseError
	switch {
	case errors.As(err, &syntax) && errors.Is(err, csv.ErrFieldCount):
		return in, syntax.StartLine, &defect{
			"", fmt.Sprintf("có %d ô, dòng đầu có %d: thiếu hoặc thừa dấu phân cách hay dấu ngoặc kép", len(cells), len(t.columns)),
			fmt.Sprintf("it has %d cells, the first line has %d: a separator or a quotation mark is missing, or one too many", len(cells), len(t.columns)),
		}, nil
	case errors.As(err, &syntax):
		return in, syntax.StartLine, &defect{
			"", fmt.Sprintf("dấu ngoặc kép đặt sai (ảnh hưởng đến hết dòng %d): hãy đặt cả ô trong ngoặc kép và viết đôi dấu bên trong", syntax.Line),
			fmt.Sprintf("a quotation mark is out of place (all up to line %d is part of the row): put the cell in quotation marks and double those within", syntax.Line),
		}, nil
	case err != nil:
		return in, line, nil, err
	}
	for i, cell := range cells {
		if !utf8.ValidString(cell) {
			return in, line, notUTF8(), nil
		}
		if i < len(t.columns) && t.columns[i] != nil {
			place := t.columns[i](&in)
			*place = cmp.Or(*place, text(strings.TrimSpace(cell)))
		}
	}
	return in, line, nil, nil
}

var errRowTooLong = errors.New("a row is longer than 1 MiB")

// bounded ends the file where a row does not: a quotation mark that is missing would make the rest of the file one cell. It hands out
// little at a time, so that what the reader has of the next row counts little.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) row() { b.left = MaxRowBytes + 8<<10 }

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.left = MaxRowBytes + 8<<10 // The head.
	}
	if b.left < 0 {
		return 0, errRowTooLong
	}
	n, err := b.r.Read(p[:min(len(p), 4<<10)])
	if b.left -= n; b.left == 0 {
		b.left = -1
	}
	return n, err
}
