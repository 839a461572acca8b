package push

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/push/fcmtest"
)

func toToken(value string) Message {
	return Message{DeviceID: "device-1", Address: &storagev1.PushAddress{
		Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN, Value: value,
	}}
}

// A push leaves the country: nothing in it may tell who, where or what. So the whole body is compared, not parts of it.
func TestFCMBody(t *testing.T) {
	fake := fcmtest.Start(t)
	fcm := newFCM(t, fake)
	for _, tt := range []struct {
		name    string
		message Message
		want    string
	}{
		{
			"silent to a token", toToken("t-1"),
			`{"message":{"data":{"hint":"sync"},
			  "android":{"collapse_key":"sync","priority":"normal"},
			  "apns":{"headers":{"apns-collapse-id":"sync","apns-priority":"5","apns-push-type":"background"},
			          "payload":{"aps":{"content-available":1}}},
			  "token":"t-1"}}`,
		},
		{
			"visible to an installation",
			Message{DeviceID: "device-1", Visible: true, Address: &storagev1.PushAddress{
				Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_FID, Value: "f-1",
			}},
			`{"message":{"data":{"hint":"sync"},
			  "notification":{"title":"Có công việc mới · New task"},
			  "android":{"collapse_key":"task","priority":"high"},
			  "apns":{"headers":{"apns-collapse-id":"task","apns-priority":"10","apns-push-type":"alert"},
			          "payload":{"aps":{"content-available":1}}},
			  "fid":"f-1"}}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(fake.Messages())
			if err := fcm.Send(t.Context(), tt.message); err != nil {
				t.Fatal(err)
			}
			messages := fake.Messages()[before:]
			if len(messages) != 1 {
				t.Fatalf("%d messages arrived, want 1", len(messages))
			}
			if got, want := canonical(t, messages[0].Body), canonical(t, []byte(tt.want)); got != want {
				t.Errorf("sent\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func canonical(t *testing.T, body []byte) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What the worker does with a failure hangs on how the sender reads it; and each failure must come back after one attempt,
// for the outbox owns the retries.
func TestFCMOutcomes(t *testing.T) {
	after := func(f fcmtest.Failure, d time.Duration) fcmtest.Failure {
		f.RetryAfter = d
		return f
	}
	const unregistered, rejected, retry, other = "unregistered", "rejected", "retry", "other"
	for _, tt := range []struct {
		name    string
		failure fcmtest.Failure
		want    string
		after   time.Duration
	}{
		{"unregistered", fcmtest.Unregistered, unregistered, 0},
		{"no address at all", fcmtest.InvalidToken, unregistered, 0},
		{"invalid argument", fcmtest.InvalidArgument, rejected, 0},
		{"another sender's address", fcmtest.SenderIDMismatch, rejected, 0},
		{"quota", fcmtest.QuotaExceeded, retry, time.Minute},
		{"quota with Retry-After", after(fcmtest.QuotaExceeded, 90*time.Second), retry, 90 * time.Second},
		{"unavailable", fcmtest.Unavailable, retry, 0},
		{"unavailable with Retry-After", after(fcmtest.Unavailable, 30*time.Second), retry, 30 * time.Second},
		{"internal", fcmtest.Internal, retry, 0},
		{"no APNs key", fcmtest.ThirdPartyAuth, retry, 0},
		{"cut connection", fcmtest.Cut, other, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := fcmtest.Start(t)
			fake.Fail(tt.failure)
			err := newFCM(t, fake).Send(t.Context(), toToken("secret-token"))
			if err == nil {
				t.Fatal("the send succeeded")
			}
			got, gotAfter := other, time.Duration(0)
			var retryable *RetryError
			switch {
			case errors.Is(err, ErrUnregistered):
				got = unregistered
			case errors.Is(err, ErrRejected):
				got = rejected
			case errors.As(err, &retryable):
				got, gotAfter = retry, retryable.After
			}
			if got != tt.want || gotAfter != tt.after {
				t.Errorf("%v is %s after %v, want %s after %v", err, got, gotAfter, tt.want, tt.after)
			}
			if strings.Contains(err.Error(), "secret-token") {
				t.Errorf("the error names the address: %v", err)
			}
			if n := fake.Attempts(); n != 1 {
				t.Errorf("%d attempts, want 1", n)
			}
		})
	}
}

// A service that does not answer must not hold the worker, neither at the message nor at the access token.
func TestFCMEndsWithItsContext(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // The server sees that the client has gone only once the body is read.
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	for name, prepare := range map[string]func(*fcmtest.Server) []byte{
		"message": func(fake *fcmtest.Server) []byte {
			fake.Fail(fcmtest.Stall)
			return fake.CredentialsJSON()
		},
		"access token": func(fake *fcmtest.Server) []byte {
			return edit(t, fake.CredentialsJSON(), "token_uri", silent.URL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := fcmtest.Start(t)
			fcm, err := NewFCM(t.Context(), FCMOptions{CredentialsJSON: prepare(fake), Endpoint: fake.Endpoint()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := fcm.Send(ctx, toToken("t-1")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the context's end", err)
			}
		})
	}
}

// A wrong key file is told at start where its form shows it, and costs no message where only Google can tell.
func TestFCMCredentials(t *testing.T) {
	fake := fcmtest.Start(t)
	good := fake.CredentialsJSON()
	for name, file := range map[string][]byte{
		"empty":         nil,
		"no JSON":       []byte("-----BEGIN PRIVATE KEY-----"),
		"another type":  edit(t, good, "type", "authorized_user"),
		"no project_id": edit(t, good, "project_id", ""),
		"no address":    edit(t, good, "client_email", ""),
		"no key":        edit(t, good, "private_key", "nope"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewFCM(t.Context(), FCMOptions{CredentialsJSON: file}); err == nil {
				t.Error("the credentials were taken")
			}
		})
	}
	t.Run("revoked key", func(t *testing.T) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		block := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		fcm, err := NewFCM(t.Context(), FCMOptions{CredentialsJSON: edit(t, good, "private_key", block), Endpoint: fake.Endpoint()})
		if err != nil {
			t.Fatal(err)
		}
		err = fcm.Send(t.Context(), toToken("t-1"))
		if err == nil || errors.Is(err, ErrUnregistered) || errors.Is(err, ErrRejected) {
			t.Errorf("got %v, want an error that is retried", err)
		}
		if n := fake.Attempts(); n != 0 {
			t.Errorf("%d messages were tried without an access token", n)
		}
	})
	t.Run("unknown kind of address", func(t *testing.T) {
		if err := newFCM(t, fake).Send(t.Context(), Message{}); !errors.Is(err, ErrRejected) {
			t.Errorf("got %v, want ErrRejected", err)
		}
	})
}

func edit(t *testing.T, file []byte, field, value string) []byte {
	t.Helper()
	var fields map[string]string
	if err := json.Unmarshal(file, &fields); err != nil {
		t.Fatal(err)
	}
	fields[field] = value
	out, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
