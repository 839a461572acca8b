package push

import (
	"errors"
	"net/http"
	"testing"
)

// Protects the worker from what push services answer, or a proxy in their place: an error is read or passed over, and no pause is less than
// nothing.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"error":{"status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}`), "120", 404)
	f.Add([]byte(`{"error":{"details":[{"fieldViolations":[{"field":"message.token"},{}]},null]}}`), "-5", 429)
	f.Add([]byte("<html>"), "1h", 503)
	f.Add([]byte("null"), "Wed, 21 Oct 2026 07:28:00 GMT", 500)
	f.Fuzz(func(t *testing.T, body []byte, after string, status int) {
		_, _ = fcmError(body)
		response := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}}
		err := webPushOutcome(response)
		if retry, ok := errors.AsType[*RetryError](err); ok && retry.After < 0 {
			t.Errorf("Retry-After %q is a pause of %s", after, retry.After)
		}
	})
}
