package open311

import (
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/cong1022/fieldsync/internal/toolserver"
)

// Protects the claim that this is GeoReport: the npm package open311, which nobody here wrote, finds the server by its discovery,
// hands a request in, and reads it back.
func TestIndependentClient(t *testing.T) {
	if testing.Short() {
		t.Skip("the npm client is left out with -short")
	}
	toolserver.NeedNode(t)
	h := newHouse(t)
	server := httptest.NewServer(h.mux)
	defer server.Close()
	run := exec.CommandContext(t.Context(), "../../internal/tools/open311/run", server.URL+"/open311/discovery.json", city, h.key)
	var said, complained strings.Builder
	run.Stdout, run.Stderr = &said, &complained
	if err := run.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, said.String(), complained.String())
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	for i, want := range []string{
		`{"endpoint":"` + server.URL + `/open311/v2/","format":"json"}`,
		`["fallen-tree","flooding",`,
		`{"service_code":"fallen-tree","attributes":[]}`,
		`["fms:A-1","fms:A-1"]`,
		`[{"service_request_id":"fms:A-1","status":"open",`,
		`[{"service_request_id":"fms:A-1","status":"open",`,
		`403`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d should have %s:\n%s", i+1, want, said.String())
		}
	}
	if h.tickets() != 1 {
		t.Errorf("%d tickets", h.tickets())
	}
}
