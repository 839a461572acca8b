package dispatch

import (
	"fmt"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects paging: walking a list in pages of any size gives each row once, in order, whatever the filter leaves out.
func TestPagesGiveEachRowOnce(t *testing.T) {
	h := newHouse(t)
	var want []string
	for i := range 23 {
		task := h.task([]string{"p-sai-gon", "p-cho-lon"}[i%2])
		if i%2 == 0 {
			want = append(want, task.GetId())
		}
		h.now = h.now.Add(1e6) // So that the ids, which begin with the time, rise.
	}
	for _, size := range []uint32{1, 3, 11, 12, 0, 500} {
		var got []string
		page := &fieldsyncv1.Page{Size: size}
		for {
			response, err := h.ListTasks(h.as(saigonDesk), &fieldsyncv1.ListTasksRequest{Page: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, task := range response.GetTasks() {
				got = append(got, task.GetId())
			}
			if page.Token = response.GetNextToken(); page.GetToken() == "" {
				break
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("pages of %d: got %v, want %v", size, got, want)
		}
	}
}

// Protects a call from the cost of long rows: the page ends early and its token goes on.
func TestPageEndsByBytes(t *testing.T) {
	h := newHouse(t)
	// Longer names than the API lets anybody write, to keep the test short; so many that a transaction holds them.
	for i := range 4 {
		h.update(func(tx *store.Tx) error {
			for j := range 9 {
				id := fmt.Sprintf("crew-%d-%d", i, j)
				crew := &fieldsyncv1.Crew{Id: id, UnitId: "p-sai-gon", Name: strings.Repeat("x", 100<<10)}
				if err := store.Put(tx, store.CrewKey(id), crew); err != nil {
					return err
				}
			}
			return nil
		})
	}
	page := &fieldsyncv1.Page{Size: 500}
	var rows, pages int
	for {
		response, err := h.ListCrews(h.as(admin), &fieldsyncv1.ListCrewsRequest{Page: page})
		if err != nil {
			t.Fatal(err)
		}
		rows, pages = rows+len(response.GetCrews()), pages+1
		if page.Token = response.GetNextToken(); page.GetToken() == "" {
			break
		}
	}
	if rows != 3+4*9 || pages != 2 {
		t.Fatalf("%d rows on %d pages, want 39 on 2", rows, pages)
	}
}

// Protects the lists from tokens that nobody gave out.
func TestForeignTokens(t *testing.T) {
	h := newHouse(t)
	for _, token := range []string{"x", "!", "AQ", "AWE=", "AmE", "AWE\n", "AR__", newToken("UPPER"), newToken(strings.Repeat("a", 65))} {
		page := &fieldsyncv1.Page{Token: token}
		_, err := h.ListTasks(h.as(admin), &fieldsyncv1.ListTasksRequest{Page: page})
		wantCode(t, err, "page_token_invalid")
		_, err = h.ListUnits(h.as(admin), &fieldsyncv1.ListUnitsRequest{Page: page})
		wantCode(t, err, "page_token_invalid")
	}
}

// Protects the strictness of page tokens: what is taken is exactly what newToken makes of the id in it.
func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"", "AWE", "AWE=", "AmE", "AQ", "AWE\n", newToken("06bkxyz0000000000000"), newToken("a..b")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := parseToken(token)
		if err != nil {
			wantCode(t, err, "page_token_invalid")
			return
		}
		if !idPattern.MatchString(id) || newToken(id) != token {
			t.Fatalf("the token %q was taken for the id %q", token, id)
		}
	})
}
