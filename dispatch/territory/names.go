package territory

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/cong1022/fieldsync/dispatch/rows"
)

// fold takes diacritics, case and punctuation from a text. đ has no decomposition.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case r == 'đ' || r == 'Đ':
			return 'd'
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		default:
			return ' '
		}
	}, norm.NFD.String(text))
}

// Succession says which unit answers for a place since a reorganisation.
type Succession struct {
	// District and Ward are the names from before, as people write them. Ward may be empty: the district as a whole.
	District, Ward string
	// Unit is the new unit.
	Unit string
	// Line of the file, from 1.
	Line int
}

var successionHeader = []string{"old_district", "old_ward", "new_unit"}

// ReadSuccessions reads a CSV file with the header old_district,old_ward,new_unit. An error of package rows names each bad row by its
// line: one without a district or unit, and one that says of a place what an earlier row said otherwise. A district that was split
// has a row for each new unit, with the wards.
func ReadSuccessions(text []byte) ([]Succession, error) {
	reader := rows.CSV(text)
	reader.ReuseRecord = true
	var list []Succession
	var bad rows.Errors
	seen := map[[2]string]Succession{}
	for first := true; ; first = false {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if wrong := new(csv.ParseError); errors.As(err, &wrong) {
			bad.Add(wrong.Line, "không phải là CSV: "+wrong.Err.Error(), "this is no CSV: "+wrong.Err.Error())
			break // What follows cannot be told apart any more.
		}
		line, _ := reader.FieldPos(0)
		switch {
		case first && !slices.Equal(record, successionHeader):
			bad.Add(line, "dòng đầu phải là "+strings.Join(successionHeader, ","), "the first row must be "+strings.Join(successionHeader, ","))
			return nil, bad.Err()
		case first:
			continue
		case len(record) != len(successionHeader):
			bad.Add(line, fmt.Sprintf("có %d cột, cần %d", len(record), len(successionHeader)), fmt.Sprintf("has %d columns, needs %d", len(record), len(successionHeader)))
			continue
		}
		row := Succession{strings.TrimSpace(record[0]), strings.TrimSpace(record[1]), strings.TrimSpace(record[2]), line}
		place := [2]string{Name(row.District), Name(row.Ward)}
		before, twice := seen[place]
		switch {
		case place[0] == "" || row.Unit == "":
			bad.Add(line, "cần tên quận, huyện cũ và mã đơn vị mới", "needs the old district's name and the new unit's id")
		case twice && before.Unit != row.Unit:
			name := strings.TrimPrefix(row.Ward+", "+row.District, ", ")
			bad.Add(line, fmt.Sprintf("%s đã thuộc %s ở dòng %d", name, before.Unit, before.Line), fmt.Sprintf("%s belongs to %s by row %d", name, before.Unit, before.Line))
		case !twice:
			seen[place] = row
			list = append(list, row)
		}
	}
	if len(list) == 0 && len(bad.Rows) == 0 {
		bad.Add(1, "tệp không có dòng nào", "the file has no rows")
	}
	return list, bad.Err()
}

// Names finds units by the old names in an address. It does not change once made, and is safe for concurrent use.
type Names struct {
	// districts are the wards of each old district: "" for the district as a whole, to its units.
	districts map[string]map[string][]string
	// byLength are the districts, longest first, so that "quan 10" is not taken for "quan 1".
	byLength []string
	units    map[string]string
}

// NewNames makes the finder. units are the names of today's units, to their ids.
func NewNames(list []Succession, units map[string]string) *Names {
	n := &Names{districts: map[string]map[string][]string{}, units: map[string]string{}}
	for name, id := range units {
		n.units[Name(name)] = id
	}
	for _, row := range list {
		district, ward := Name(row.District), Name(row.Ward)
		if n.districts[district] == nil {
			n.districts[district] = map[string][]string{}
			n.byLength = append(n.byLength, district)
		}
		for _, of := range []string{ward, ""} { // Each unit of a ward is also one of the district's.
			if !slices.Contains(n.districts[district][of], row.Unit) {
				n.districts[district][of] = append(n.districts[district][of], row.Unit)
			}
		}
	}
	slices.SortFunc(n.byLength, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return n
}

// Find returns the units that an address may belong to: one where its old district and ward, or its district alone, or a unit of
// today's name tells; several where the district was split and the ward is not told; none where nothing is known. by is what told.
func (n *Names) Find(address string) (units []string, by string) {
	text := " " + Name(address) + " "
	has := func(name string) bool { return name != "" && strings.Contains(text, " "+name+" ") }
	for _, district := range n.byLength {
		if !has(district) {
			continue
		}
		wards := n.districts[district]
		longest := ""
		for ward := range wards {
			if has(ward) && (len(ward) > len(longest) || len(ward) == len(longest) && ward < longest) {
				longest = ward
			}
		}
		return slices.Sorted(slices.Values(wards[longest])), strings.TrimSpace(longest + " " + district)
	}
	longest := ""
	for name := range n.units {
		if has(name) && (len(name) > len(longest) || len(name) == len(longest) && name < longest) {
			longest = name
		}
	}
	if longest == "" {
		return nil, ""
	}
	return []string{n.units[longest]}, longest
}
