package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/outward"
)

// The types of the events.
const (
	TypeCompletionSealed = "fieldsync.completion.sealed.v1"
	TypeTicketChanged    = "fieldsync.ticket.changed.v1"
)

const (
	// maxPause bounds what a receiver may ask for with Retry-After.
	maxPause = time.Hour
	// maxDrained is how much of an answer is read so that its connection can be used again.
	maxDrained = 64 << 10
)

// event is what is posted, as a CloudEvent 1.0 in structured JSON (https://github.com/cloudevents/spec).
type event struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

func newEvent(source, id, kind, subject string, at time.Time, data proto.Message) (*event, error) {
	encoded, err := protojson.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encoding the event %s: %w", id, err)
	}
	return &event{
		SpecVersion: "1.0", ID: id, Source: source, Type: kind, Subject: subject, Time: at.UTC().Format(time.RFC3339Nano),
		DataContentType: "application/json", Data: encoded,
	}, nil
}

func completionEvent(source string, stored *storagev1.Completion) (*event, error) {
	record := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(stored.GetRecord(), record); err != nil {
		return nil, fmt.Errorf("the record of the completion %s is damaged: %w", stored.GetId(), err)
	}
	return newEvent(source, stored.GetId(), TypeCompletionSealed, record.GetHotlineId(), stored.GetSealedAt().AsTime(), &fieldsyncv1.Completion{
		Id: stored.GetId(), Record: stored.GetRecord(), Signature: stored.GetSignature(), KeyId: stored.GetKeyId(), State: stored.GetState(), Decoded: record,
	})
}

func changeEvent(source string, change *fieldsyncv1.TicketChange) (*event, error) {
	return newEvent(source, change.GetId(), TypeTicketChanged, change.GetHotlineId(), change.GetAt().AsTime(), change)
}

// Sign makes the value of the header webhook-signature for one secret (https://www.standardwebhooks.com): "v1," and the base64 of
// HMAC-SHA256 over id, timestamp (in Unix seconds) and body, with dots between.
func Sign(secret []byte, id string, timestamp int64, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%d.", id, timestamp)
	_, _ = mac.Write(body) // A hash takes everything.
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// outcome is what a post has come to, where that is not 2xx.
type outcome struct {
	// why holds no address: it is shown and logged.
	why string
	// ended: 410, the receiver wants no more.
	ended bool
	// pause is what the receiver asked for with 429 or 503.
	pause time.Duration
}

// post sends an event, signed with each secret that is good now. Nil where it was answered with 2xx.
func (w *Worker) post(ctx context.Context, hook *storagev1.Webhook, e *event) *outcome {
	body, err := json.Marshal(e)
	if err != nil {
		return &outcome{why: "encoding failed"}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.GetShown().GetUrl(), bytes.NewReader(body))
	if err != nil {
		return &outcome{why: "not an address"}
	}
	now := w.o.Store.Now()
	var signatures []string
	for _, secret := range hook.GetSecrets() {
		if secret.GetUntil() == nil || secret.GetUntil().AsTime().After(now) {
			signatures = append(signatures, Sign(secret.GetKey(), e.ID, now.Unix(), body))
		}
	}
	request.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	request.Header.Set("User-Agent", "fieldsync")
	request.Header.Set("Webhook-Id", e.ID)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	request.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	response, err := w.client.Do(request)
	if err != nil {
		return &outcome{why: reason(err)}
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxDrained) // For the connection only: the status has said all.
	switch status := response.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusGone:
		return &outcome{why: "HTTP 410", ended: true}
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return &outcome{why: fmt.Sprintf("HTTP %d", status), pause: retryAfter(response.Header.Get("Retry-After"), now)}
	default:
		return &outcome{why: fmt.Sprintf("HTTP %d", status)}
	}
}

// retryAfter reads the header in both of its forms (RFC 9110, 10.2.3), up to an hour. 0 where it says nothing.
func retryAfter(header string, now time.Time) time.Duration {
	var pause time.Duration
	if seconds, err := strconv.Atoi(header); err == nil {
		pause = time.Duration(min(max(seconds, 0), int(maxPause/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		pause = at.Sub(now)
	}
	return min(max(pause, 0), maxPause)
}

// reason says why there was no answer, without the address, which may hold a secret of the receiver's.
func reason(err error) string {
	if errors.Is(err, outward.ErrForbidden) {
		return outward.ErrForbidden.Error()
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		if wrapped.Timeout() {
			return "no answer in time"
		}
	}
	return "no connection, or it broke"
}
