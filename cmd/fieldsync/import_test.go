package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Protects a city with long reports: an import is cut into calls that the server takes, by size and not only by number.
func TestImportOfLongReports(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	check(t, h.dispatcher.Close())
	check(t, h.hotline.Close())
	var rows []string
	for i := range 60 {
		rows = append(rows, fmt.Sprintf(`{"service_request_id": "dài-%d", "service_code": "x", "service_name": "Cây đổ", "description": %q}`,
			i, strings.Repeat("đổ ", 2600)))
	}
	file := filepath.Join(t.TempDir(), "long.json")
	check(t, os.WriteFile(file, []byte("["+strings.Join(rows, ",\n")+"]"), 0o600))
	got := h.shell("import", "--profile", h.folder(houseHotline), "--unit", houseUnit, file)
	if want := "60 created, 0 updated, 0 unchanged, 0 bad rows\n"; got != want {
		t.Errorf("the import says %q, want %q", got, want)
	}
}

// Protects the README's walk: a ticket whose service_code is a category is of that category, and finds its checklist and escalation there.
func TestImportIntoCategories(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	check(t, h.dispatcher.Close())
	check(t, h.hotline.Close())
	file := filepath.Join(t.TempDir(), "requests.json")
	check(t, os.WriteFile(file, []byte(`[{"service_request_id": "1022-1", "service_code": "fallen-tree", "service_name": "Cây me ngã"},
		{"service_request_id": "1022-2", "service_name": "Ngập nước"}, {"service_request_id": "1022-3", "service_name": "Chuyện khác"}]`), 0o600))
	h.shell("import", "--profile", h.folder(houseHotline), "--unit", houseUnit, file)
	for id, want := range map[string]string{"1022-1": "fallen-tree", "1022-2": "flooding", "1022-3": "chuyen-khac"} {
		h.shell("assign", "--profile", h.folder(houseDispatcher), id, crewOne)
		if board := h.shell("board", "--profile", h.folder(houseDispatcher), "--category", want); !strings.Contains(board, id) {
			t.Errorf("%s is not of the category %s:\n%s", id, want, board)
		}
	}
}

// Protects a large file with a few bad rows, in both forms: good rows are in, each bad one is named by its line, its field and what to do, on
// the terminal and in the file of bad rows, those that only the server can refuse as well; the same file again changes nothing; and a
// unit that does not exist stops it before anything is in.
func TestImportWithBadRows(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	check(t, h.dispatcher.Close())
	check(t, h.hotline.Close())
	rows := 2000
	if testing.Short() {
		rows = 300
	}
	for name, write := range map[string]func(row importRow) string{"csv": importRow.csv, "json": importRow.json} {
		var file strings.Builder
		file.WriteString(map[string]string{"csv": "service_request_id,service_name,lat,long,requested_datetime,parent_id\n", "json": "[\n"}[name])
		want := map[string]string{} // Field by line.
		for n := 1; n <= rows; n++ {
			row := importRow{id: fmt.Sprintf("%s-%d", name, n), lat: "10.77", at: "2026-11-20T08:00:00+07:00"}
			switch n {
			case 7, rows - 3:
				row.lat, want[fmt.Sprint(n+1)] = "91", "lat"
			case 60, rows / 2:
				row.at, want[fmt.Sprint(n+1)] = "20/11/2026", "requested_datetime"
			case 61, rows - 1:
				row.parent, want[fmt.Sprint(n+1)] = "khong-co", "parent_id"
			case 62:
				row.parent = name + "-1"
			}
			file.WriteString(write(row))
			if name == "json" && n < rows {
				file.WriteString(",")
			}
			file.WriteString("\n")
		}
		if name == "json" {
			file.WriteString("]")
		}
		path, badPath := filepath.Join(t.TempDir(), "tickets"), filepath.Join(t.TempDir(), "bad.csv")
		check(t, os.WriteFile(path, []byte(file.String()), 0o600))
		run := func(unit string) (out, errs string, code int) {
			var stdout, stderr bytes.Buffer
			code = Run(t.Context(), []string{"import", "--lang", "en", "--profile", h.folder(houseHotline), "--unit", unit, "--bad", badPath, path}, strings.NewReader(""), &stdout, &stderr)
			return stdout.String(), stderr.String(), code
		}
		if out, errs, code := run("khong-co"); code != 1 || !strings.HasPrefix(out, "0 created, 0 updated") || !strings.Contains(errs, "[unit_unknown]") {
			t.Errorf("%s for a unit that does not exist: %d, %q, %q", name, code, out, errs)
		}
		for _, done := range []string{fmt.Sprintf("%d created, 0 updated, 0 unchanged", rows-len(want)), fmt.Sprintf("0 created, 0 updated, %d unchanged", rows-len(want))} {
			out, errs, code := run(houseUnit)
			if code != 1 || out != fmt.Sprintf("%s, %d bad rows\n", done, len(want)) {
				t.Fatalf("%s: exit status %d, %q, want %q\n%s", name, code, out, done, errs)
			}
			said, err := os.Open(badPath)
			check(t, err)
			table, err := csv.NewReader(said).ReadAll()
			check(t, err)
			check(t, said.Close())
			got := map[string]string{}
			for _, row := range table[1:] {
				got[row[0]] = row[2]
				if !strings.Contains(errs, fmt.Sprintf("line %s (%s): %s\n", row[0], row[1], row[3])) || row[3] == "" {
					t.Errorf("%s: the terminal does not say %q", name, row)
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: bad are %v, want %v", name, got, want)
			}
		}
	}
}

// Protects a file of tickets, perhaps the only one, from an import whose bad rows are to go into the same file.
func TestImportKeepsItsFile(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	check(t, h.dispatcher.Close())
	check(t, h.hotline.Close())
	const rows = "service_request_id,service_name\n1022-1,Cây đổ\n"
	path := filepath.Join(t.TempDir(), "tickets.csv")
	check(t, os.WriteFile(path, []byte(rows), 0o600))
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), []string{"import", "--lang", "en", "--profile", h.folder(houseHotline), "--bad", path, path}, strings.NewReader(""), &stdout, &stderr)
	left, err := os.ReadFile(path)
	check(t, err)
	if code != 1 || !strings.Contains(stderr.String(), "[flag_invalid]") || string(left) != rows {
		t.Errorf("exit status %d, %q, and in the file is %q", code, stderr.String(), left)
	}
}

// importRow is a row of a file of tickets.
type importRow struct{ id, lat, at, parent string }

func (r importRow) csv() string {
	return fmt.Sprintf("%s,Cây đổ,%s,106.70,%s,%s", r.id, r.lat, r.at, r.parent)
}

func (r importRow) json() string {
	return fmt.Sprintf(`{"service_request_id":%q,"service_name":"Cây đổ","lat":%s,"long":106.70,"requested_datetime":%q,"parent_id":%q}`, r.id, r.lat, r.at, r.parent)
}
