package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
	"github.com/cong1022/fieldsync/store"
)

// Protects the closing rule, which is the category's in every channel: where it says claim, a ticket may be closed while the photos are
// on the phone still; where it says nothing, only once the completion is sealed. Feed, webhook, status and GeoReport agree.
func TestClosingRuleInEveryChannel(t *testing.T) {
	for rule, onClaim := range map[fieldsyncv1.ClosingRule]bool{
		fieldsyncv1.ClosingRule_CLOSING_RULE_CLAIM: true, fieldsyncv1.ClosingRule_CLOSING_RULE_SEAL: false, fieldsyncv1.ClosingRule_CLOSING_RULE_UNSPECIFIED: false,
	} {
		t.Run(rule.String(), func(t *testing.T) {
			posted := make(chan bool, 100) // Of each change of a task that is done: whether the ticket may be closed.
			receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				var event struct {
					Data struct {
						State    string `json:"state"`
						MayClose bool   `json:"mayClose"`
					} `json:"data"`
				}
				if err := json.NewDecoder(r.Body).Decode(&event); err == nil && event.Data.State == "TASK_STATE_DONE" {
					posted <- event.Data.MayClose
				}
			}))
			defer receiver.Close()
			config := testConfig(t)
			config.Webhooks.AllowedNetworks = []string{"127.0.0.0/8"}
			r := settled(t, config)
			r.update(t, func(tx *store.Tx) error {
				category, err := store.Get(tx, store.CategoryKey("fallen-tree"))
				if err != nil {
					return err
				}
				category.Closing = rule
				return store.Put(tx, store.CategoryKey("fallen-tree"), category)
			})
			task := r.assigned(t)
			admin := client(t, false, r.token(t, "sep"))
			if _, err := fieldsyncv1connect.NewHotlineServiceClient(admin, r.url).PutWebhook(t.Context(), &fieldsyncv1.PutWebhookRequest{
				Id: "1022", Url: receiver.URL, TicketChanges: true,
			}); err != nil {
				t.Fatal(err)
			}
			desk := fieldsyncv1connect.NewHotlineServiceClient(client(t, true, r.token(t, "tong-dai")), r.url)
			key, err := fieldsyncv1connect.NewIdentityServiceClient(admin, r.url).IssueApiKey(t.Context(), &fieldsyncv1.IssueApiKeyRequest{MemberId: "tong-dai"})
			if err != nil {
				t.Fatal(err)
			}
			agree := func(when string, want bool) {
				t.Helper()
				changes, err := desk.ListTicketChanges(t.Context(), &fieldsyncv1.ListTicketChangesRequest{})
				if n := len(changes.GetChanges()); err != nil || n == 0 || changes.GetChanges()[n-1].GetMayClose() != want {
					t.Errorf("%s: the changes end with %v, %v", when, changes, err)
				}
				if got := <-posted; got != want {
					t.Errorf("%s: the webhook says %v", when, got)
				}
				status, err := desk.GetTicketStatus(t.Context(), &fieldsyncv1.GetTicketStatusRequest{HotlineId: "1022-1"})
				if err != nil || status.GetMayClose() != want {
					t.Errorf("%s: the status is %v, %v", when, status, err)
				}
				feed, err := desk.ListCompletions(t.Context(), &fieldsyncv1.ListCompletionsRequest{Claims: true})
				if (len(feed.GetCompletions()) == 1) != want || err != nil {
					t.Errorf("%s: the feed with claims is %v, %v", when, feed, err)
				}
				word := "<status>open</status>"
				if want {
					word = "<status>closed</status>"
				}
				if got := do(t, client(t, false, ""), http.MethodGet, r.url+"/open311/v2/requests/1022-1.xml?api_key="+key.GetApiKey(), "", nil); !strings.Contains(got.body, word) {
					t.Errorf("%s: GeoReport says %d %s", when, got.status, got.body)
				}
			}

			crew := r.enrol(t, "an", t.TempDir())
			if _, err := crew.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := crew.Photo(task, pictureFile(t), phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER}); err != nil {
				t.Fatal(err)
			}
			if err := crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong"); err != nil {
				t.Fatal(err)
			}
			if _, err := crew.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			agree("claimed", onClaim)
			if feed, err := desk.ListCompletions(t.Context(), &fieldsyncv1.ListCompletionsRequest{}); err != nil || len(feed.GetCompletions()) != 0 {
				t.Errorf("claimed: the feed is %v, %v", feed, err)
			}
			if err := crew.Upload(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			agree("sealed", true)
			// What else is said of the ticket then says so too.
			if _, err := desk.SubmitTickets(t.Context(), &fieldsyncv1.SubmitTicketsRequest{
				Tickets: []*fieldsyncv1.TicketIntake{{HotlineId: "1022-1", Category: "fallen-tree", Title: "Cây đổ hẳn"}},
			}); err != nil {
				t.Fatal(err)
			}
			agree("updated", true)
		})
	}
}
