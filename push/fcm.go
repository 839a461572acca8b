package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/errorutils"
	"firebase.google.com/go/v4/messaging"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/api/option"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

const (
	// fcmScope is the least that lets a service account send. The SDK's own default reaches over the whole project.
	fcmScope = "https://www.googleapis.com/auth/firebase.messaging"
	// fcmQuotaPause is what Google asks for after 429 without a Retry-After
	// (https://firebase.google.com/docs/cloud-messaging/scale-fcm).
	fcmQuotaPause = time.Minute
	// fcmTokenTimeout bounds the fetch of an access token that the SDK begins in the background.
	fcmTokenTimeout = 10 * time.Second

	// A silent hint that follows must not take the place of a notification that waits for the phone: a key each.
	silentCollapseKey  = "sync"
	visibleCollapseKey = "task"
)

// FCMOptions say as whom to send.
type FCMOptions struct {
	// CredentialsJSON is the content of a service account's key file. It is secret. Its project is the one to send for.
	CredentialsJSON []byte
	// Endpoint replaces Google's, in tests: https://fcm.googleapis.com/v1 by default.
	Endpoint string
}

// FCM is the Sender over Firebase Cloud Messaging (HTTP v1), through the Firebase Admin SDK.
type FCM struct {
	client *messaging.Client
}

// NewFCM makes the Sender. It checks the credentials' form, the key's too, and asks nobody: whether they are good shows at the first send.
func NewFCM(ctx context.Context, o FCMOptions) (*FCM, error) {
	creds, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, o.CredentialsJSON, &credentials.DetectOptions{
		Scopes: []string{fcmScope},
		Client: &http.Client{Timeout: fcmTokenTimeout},
	})
	if err != nil {
		return nil, fmt.Errorf("reading the FCM credentials: %w", err)
	}
	project, err := creds.ProjectID(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the FCM credentials: %w", err)
	}
	if project == "" {
		return nil, errors.New("the FCM credentials name no project_id")
	}
	if err := checkKey(o.CredentialsJSON); err != nil {
		return nil, fmt.Errorf("reading the FCM credentials: %w", err)
	}
	authenticated, err := httptransport.NewClient(&httptransport.Options{Credentials: creds, DisableTelemetry: true})
	if err != nil {
		return nil, fmt.Errorf("preparing the FCM client: %w", err)
	}
	options := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: oneAttempt{authenticated.Transport}})}
	if o.Endpoint != "" {
		options = append(options, option.WithEndpoint(o.Endpoint))
	}
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: project}, options...)
	if err != nil {
		return nil, fmt.Errorf("preparing the FCM client: %w", err)
	}
	client, err := app.Messaging(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing the FCM client: %w", err)
	}
	return &FCM{client}, nil
}

// checkKey looks at what the credentials sign with, at which the library looks at the first send only. Its errors quote none of it.
func checkKey(file []byte) error {
	var account struct {
		ClientEmail string `json:"client_email"`
		PrivateKey  string `json:"private_key"`
	}
	if err := json.Unmarshal(file, &account); err != nil {
		return err
	}
	if account.ClientEmail == "" {
		return errors.New("no client_email")
	}
	if _, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(account.PrivateKey)); err != nil {
		return fmt.Errorf("private_key: %w", err)
	}
	return nil
}

// Send implements Sender.
func (f *FCM) Send(ctx context.Context, m Message) error {
	message, err := fcmMessage(m)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	_, err = f.client.Send(context.WithValue(ctx, stopKey{}, stop), message)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("fcm: %w", cause)
	}
	return fcmOutcome(err)
}

// fcmMessage says "sync" and nothing else. Android demotes an app whose messages of high priority show nothing; Apple refuses
// a background push of any priority but 5.
func fcmMessage(m Message) (*messaging.Message, error) {
	key, priority := silentCollapseKey, "normal"
	apns := map[string]string{"apns-push-type": "background", "apns-priority": "5"}
	if m.Visible {
		key, priority = visibleCollapseKey, "high"
		apns = map[string]string{"apns-push-type": "alert", "apns-priority": "10"}
	}
	apns["apns-collapse-id"] = key
	message := &messaging.Message{
		Data:    map[string]string{"hint": "sync"},
		Android: &messaging.AndroidConfig{CollapseKey: key, Priority: priority},
		APNS:    &messaging.APNSConfig{Headers: apns, Payload: &messaging.APNSPayload{Aps: &messaging.Aps{ContentAvailable: true}}},
	}
	if m.Visible {
		message.Notification = &messaging.Notification{Title: m.title()}
	}
	if err := setAddress(message, m.Address); err != nil {
		return nil, err
	}
	return message, nil
}

func setAddress(message *messaging.Message, address *storagev1.PushAddress) error {
	switch address.GetKind() {
	case fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN:
		message.Token = address.GetValue() //nolint:staticcheck // Deprecated, and what phones still have.
	case fieldsyncv1.PushKind_PUSH_KIND_FCM_FID:
		message.Fid = address.GetValue()
	default:
		return fmt.Errorf("%w: FCM does not know the address kind %v", ErrRejected, address.GetKind())
	}
	return nil
}

// stopKey holds in a send's context what ends it: a context.CancelCauseFunc.
type stopKey struct{}

// oneAttempt ends a send at the first answer that the SDK would retry: 503, and no answer at all. The SDK retries for some 8
// seconds, or as long as Retry-After says up to two minutes; the outbox does it with more patience and across a crash.
type oneAttempt struct {
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t oneAttempt) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.base.RoundTrip(request)
	stop, ok := request.Context().Value(stopKey{}).(context.CancelCauseFunc)
	switch {
	case !ok:
	case err != nil:
		stop(err)
	case response.StatusCode == http.StatusServiceUnavailable:
		stop(&RetryError{After: retryAfter(response), Err: errors.New("HTTP 503")})
	}
	return response, err
}

// fcmOutcome reads Google's error, and keeps of it only what cannot quote the address: status, code and field names. See
// https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode.
func fcmOutcome(err error) error {
	response := errorutils.HTTPResponse(err) //nolint:bodyclose // A copy in memory.
	if response == nil {
		return fmt.Errorf("fcm: %w", err)
	}
	body, _ := io.ReadAll(response.Body) // Reading memory does not fail.
	code, fields := fcmError(body)
	err = fmt.Errorf("fcm: HTTP %d %s %v", response.StatusCode, code, fields)
	switch {
	case code == "UNREGISTERED":
		return fmt.Errorf("%w: %w", ErrUnregistered, err)
	case code == "INVALID_ARGUMENT" && (slices.Contains(fields, "message.token") || slices.Contains(fields, "message.fid")):
		// Not an address at all: a phone told nonsense.
		return fmt.Errorf("%w: %w", ErrUnregistered, err)
	case response.StatusCode == http.StatusTooManyRequests:
		after := retryAfter(response)
		if after == 0 {
			after = fcmQuotaPause
		}
		return &RetryError{After: after, Err: err}
	case code == "INVALID_ARGUMENT", code == "SENDER_ID_MISMATCH":
		return fmt.Errorf("%w: %w", ErrRejected, err)
	default:
		// 5xx, and what an operator can repair: wrong credentials, a missing permission, a missing APNs key.
		return &RetryError{After: retryAfter(response), Err: err}
	}
}

// fcmError returns FCM's own error code, or where there is none Google's status, and the names of the offending fields.
func fcmError(body []byte) (code string, fields []string) {
	var answer struct {
		Error struct {
			Status  string `json:"status"`
			Details []struct {
				Type            string `json:"@type"`
				ErrorCode       string `json:"errorCode"`
				FieldViolations []struct {
					Field string `json:"field"`
				} `json:"fieldViolations"`
			} `json:"details"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "without Google's JSON", nil // A proxy's page, say.
	}
	code = answer.Error.Status
	for _, detail := range answer.Error.Details {
		if detail.Type == "type.googleapis.com/google.firebase.fcm.v1.FcmError" {
			code = detail.ErrorCode
		}
		for _, violation := range detail.FieldViolations {
			fields = append(fields, violation.Field)
		}
	}
	return code, fields
}

// retryAfter reads the header in its form in seconds, the one that Google uses. 0 where there is none, or nothing to wait for.
func retryAfter(response *http.Response) time.Duration {
	after, err := time.ParseDuration(response.Header.Get("Retry-After") + "s")
	if err != nil {
		return 0
	}
	return max(0, after)
}
