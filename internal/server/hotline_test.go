package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// Protects the hotline that waits: a long poll, a stream, a webhook and the GeoReport face each hear of a completion that was recorded
// offline, under one and the same id; and a stop of the server does not wait for those who wait.
func TestCompletionInEveryChannel(t *testing.T) {
	posted := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { posted <- r.Header.Get("Webhook-Id") }))
	defer receiver.Close()
	config := testConfig(t)
	config.Webhooks.AllowedNetworks = []string{"127.0.0.0/8"}
	r := settled(t, config)
	task := r.assigned(t)
	operator := client(t, false, r.token(t, "sep"))
	hook, err := fieldsyncv1connect.NewHotlineServiceClient(operator, r.url).PutWebhook(t.Context(), &fieldsyncv1.PutWebhookRequest{
		Id: "1022", Url: receiver.URL, Completions: true,
	})
	if err != nil || hook.GetSecret() == "" {
		t.Fatal(hook, err)
	}
	crew := r.enrol(t, "an", t.TempDir())
	desk := fieldsyncv1connect.NewHotlineServiceClient(client(t, true, r.token(t, "tong-dai")), r.url)
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(crew.Start(task), crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong")); err != nil {
		t.Fatal(err)
	}

	stream, err := desk.WatchCompletions(t.Context(), &fieldsyncv1.WatchCompletionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || len(stream.Msg().GetCompletions()) != 0 {
		t.Fatalf("the stream begins with %v %v", stream.Msg(), stream.Err())
	}
	polled := make(chan string, 1)
	go func() {
		got, err := desk.ListCompletions(t.Context(), &fieldsyncv1.ListCompletionsRequest{WaitSeconds: 50})
		if err != nil || len(got.GetCompletions()) != 1 {
			t.Errorf("the long poll: %v %v", got, err)
			polled <- ""
			return
		}
		polled <- got.GetCompletions()[0].GetId()
	}()
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := <-polled
	if got := <-posted; got != id {
		t.Errorf("the webhook posts %q, the feed says %q", got, id)
	}
	if !stream.Receive() || len(stream.Msg().GetCompletions()) != 1 || stream.Msg().GetCompletions()[0].GetId() != id || len(stream.Msg().GetCursor()) == 0 {
		t.Errorf("the stream goes on with %v %v", stream.Msg(), stream.Err())
	}
	changes, err := desk.ListTicketChanges(t.Context(), &fieldsyncv1.ListTicketChangesRequest{WaitSeconds: 1})
	if n := len(changes.GetChanges()); err != nil || n == 0 || changes.GetChanges()[n-1].GetCompletionId() != id {
		t.Errorf("the changes end with %v %v", changes, err)
	}

	admin := fieldsyncv1connect.NewIdentityServiceClient(operator, r.url)
	key, err := admin.IssueApiKey(t.Context(), &fieldsyncv1.IssueApiKeyRequest{MemberId: "tong-dai"})
	if err != nil {
		t.Fatal(err)
	}
	updates := r.url + "/open311/v2/servicerequestupdates.xml?jurisdiction_id=hochiminhcity.gov.vn&api_key="
	if got := do(t, client(t, false, ""), http.MethodGet, updates+key.GetApiKey(), "", nil); got.status != http.StatusOK ||
		!strings.Contains(got.body, "<update_id>"+id+"</update_id><service_request_id>1022-1</service_request_id><status>fixed</status>") {
		t.Errorf("GeoReport with a key: %d %s", got.status, got.body)
	}
	if got := do(t, client(t, false, r.token(t, "tong-dai")), http.MethodGet, updates, "", nil); got.status != http.StatusOK {
		t.Errorf("GeoReport with the hotline's token: %d %s", got.status, got.body)
	}
	for _, member := range []string{"an", "chi", "sep"} {
		if got := do(t, client(t, false, r.token(t, member)), http.MethodGet, updates, "", nil); got.status != http.StatusForbidden {
			t.Errorf("GeoReport with the token of %s: %d %s", member, got.status, got.body)
		}
	}

	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("the stream ends with %v", stream.Err())
	}
}
