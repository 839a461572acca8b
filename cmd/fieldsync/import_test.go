package main

import (
	"fmt"
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
