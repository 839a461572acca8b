package fcmtest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Failure is what becomes of a send that is in order. Make one of your own from one of those below to give it a RetryAfter.
type Failure struct {
	// HTTP is the status of the answer.
	HTTP int
	// Status is Google's canonical code, Code is FCM's own. An empty Code is left out, as the real service does for failures in
	// front of FCM.
	Status, Code string
	// Text is the message.
	Text string
	// RetryAfter goes into the header, in whole seconds. 0 for none.
	RetryAfter time.Duration

	field string // The offending field, where one is to blame.
}

// What the script can say. The texts are those of the real service.
var (
	// Pass accepts the message.
	Pass = Failure{}
	// Cut closes the connection without an answer.
	Cut = Failure{Code: "cut"}
	// Stall does not answer until the client has gone.
	Stall = Failure{Code: "stall"}
	// Lost accepts the message and closes the connection without an answer: the phone is woken, and the sender cannot know.
	Lost = Failure{Code: "lost"}

	Unregistered = Failure{
		HTTP: http.StatusNotFound, Status: "NOT_FOUND", Code: "UNREGISTERED", Text: "Requested entity was not found.",
	}
	QuotaExceeded = Failure{
		HTTP: http.StatusTooManyRequests, Status: "RESOURCE_EXHAUSTED", Code: "QUOTA_EXCEEDED",
		Text: "Quota exceeded for quota metric 'FCM messages' of service 'fcm.googleapis.com'.",
	}
	Unavailable = Failure{
		HTTP: http.StatusServiceUnavailable, Status: "UNAVAILABLE", Code: "UNAVAILABLE", Text: "The service is currently unavailable.",
	}
	Internal = Failure{
		HTTP: http.StatusInternalServerError, Status: "INTERNAL", Code: "INTERNAL", Text: "Internal error encountered.",
	}
	InvalidArgument  = invalidArgument("message.android.ttl", "Invalid ttl")
	InvalidToken     = invalidArgument("message.token", "The registration token is not a valid FCM registration token")
	SenderIDMismatch = Failure{
		HTTP: http.StatusForbidden, Status: "PERMISSION_DENIED", Code: "SENDER_ID_MISMATCH", Text: "SenderId mismatch",
	}
	// BadGateway is the answer of something in front of FCM, which knows nothing of its codes.
	BadGateway     = Failure{HTTP: http.StatusBadGateway, Text: "bad gateway"}
	ThirdPartyAuth = Failure{
		HTTP: http.StatusUnauthorized, Status: "UNAUTHENTICATED", Code: "THIRD_PARTY_AUTH_ERROR", Text: "Auth error from APNS or Web Push Service",
	}

	unauthenticated = Failure{
		HTTP: http.StatusUnauthorized, Status: "UNAUTHENTICATED",
		Text: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
	}
)

func invalidArgument(field, text string) Failure {
	return Failure{HTTP: http.StatusBadRequest, Status: "INVALID_ARGUMENT", Code: "INVALID_ARGUMENT", Text: text, field: field}
}

// answer writes Google's error JSON: https://cloud.google.com/apis/design/errors.
func (f Failure) answer(w http.ResponseWriter) {
	var details []map[string]any
	if f.Code != "" {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": f.Code,
		})
	}
	if f.field != "" {
		details = append(details, map[string]any{
			"@type":           "type.googleapis.com/google.rpc.BadRequest",
			"fieldViolations": []map[string]string{{"field": f.field, "description": f.Text}},
		})
	}
	body := map[string]any{"code": f.HTTP, "message": f.Text, "status": f.Status}
	if details != nil {
		body["details"] = details
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
	writeJSON(w, f.HTTP, map[string]any{"error": body})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // Maps and strings; a client that has gone needs no answer.
}
