package fcmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// maxPayload is FCM's limit on a message: keys and values of data and notification.
const maxPayload = 4096

// Message is one that was accepted.
type Message struct {
	// Token or FID is whom it was sent to: one of them is set.
	Token, FID string
	// Data is the payload.
	Data map[string]string
	// Title is the notification's. Empty where there is none.
	Title string
	// Priority is Android's: normal or high.
	Priority string
	// CollapseKey is Android's.
	CollapseKey string
	// Body is the whole request as it came in.
	Body json.RawMessage
}

// Address is Token or FID.
func (m Message) Address() string { return m.Token + m.FID }

// request is the part of the method's JSON that the house's sender may use. Everything else is refused as the real service
// refuses what it does not know.
type request struct {
	Message *struct {
		Token        *string           `json:"token"`
		FID          *string           `json:"fid"`
		Data         map[string]string `json:"data"`
		Notification *notification     `json:"notification"`
		Android      struct {
			CollapseKey string `json:"collapse_key"`
			Priority    string `json:"priority"`
			TTL         string `json:"ttl"`
		} `json:"android"`
		APNS *struct {
			Headers map[string]string `json:"headers"`
			Payload struct {
				Aps map[string]any `json:"aps"`
			} `json:"payload"`
		} `json:"apns"`
	} `json:"message"`
}

type notification struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

func readMessage(w http.ResponseWriter, r *http.Request) (Message, *Failure) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return refuse("", "Invalid content type: JSON is required")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return refuse("", "the request cannot be read")
	}
	var in request
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return refuse("message", "Invalid JSON payload received. "+err.Error())
	}
	if _, err := decoder.Token(); err != io.EOF {
		return refuse("", "Invalid JSON payload received. Parsing terminated before end of input.")
	}
	if in.Message == nil {
		return refuse("message", "Recipient of the message is not set.")
	}
	if failure := in.check(); failure != nil {
		return Message{}, failure
	}
	m := Message{
		Data: in.Message.Data, Priority: in.Message.Android.Priority, CollapseKey: in.Message.Android.CollapseKey, Body: body,
	}
	if in.Message.Token != nil {
		m.Token = *in.Message.Token
	}
	if in.Message.FID != nil {
		m.FID = *in.Message.FID
	}
	if in.Message.Notification != nil {
		m.Title = in.Message.Notification.Title
	}
	return m, nil
}

func refuse(field, text string) (Message, *Failure) {
	failure := invalidArgument(field, text)
	return Message{}, &failure
}

func (in request) check() *Failure {
	m := in.Message
	invalid := func(field, text string) *Failure {
		failure := invalidArgument(field, text)
		return &failure
	}
	switch {
	case (m.Token == nil) == (m.FID == nil):
		return invalid("message", "Exactly one recipient of the message must be set.")
	case m.Token != nil && *m.Token == "":
		return invalid("message.token", "The registration token is not a valid FCM registration token")
	case m.FID != nil && *m.FID == "":
		return invalid("message.fid", "The installation ID is not valid")
	}
	size := 0
	for key, value := range m.Data {
		if key == "from" || key == "message_type" || strings.HasPrefix(key, "google.") || strings.HasPrefix(key, "gcm.") {
			return invalid("message.data", "Invalid data payload key: "+key)
		}
		size += len(key) + len(value)
	}
	if m.Notification != nil {
		size += len("title") + len(m.Notification.Title) + len("body") + len(m.Notification.Body)
	}
	if size > maxPayload {
		return invalid("message", fmt.Sprintf("Message is too big: %d bytes", size))
	}
	switch m.Android.Priority {
	case "normal":
	case "high":
		if m.Notification == nil || m.Notification.Title == "" {
			// The real service takes it, and then demotes the app.
			return invalid("message.android.priority", "high priority without a notification")
		}
	default:
		return invalid("message.android.priority", "Invalid priority: "+m.Android.Priority)
	}
	if m.Android.CollapseKey == "" {
		// The real service takes it, keeps 100 of them for a phone that is off, and then drops all.
		return invalid("message.android.collapse_key", "a hint needs a collapse key")
	}
	if m.APNS == nil {
		return nil
	}
	// Apple's rules, which FCM leaves to Apple:
	// https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns.
	want := map[string]string{"background": "5", "alert": "10"}[m.APNS.Headers["apns-push-type"]]
	if want == "" || m.APNS.Headers["apns-priority"] != want {
		return invalid("message.apns.headers", "apns-push-type and apns-priority do not fit together")
	}
	if (want == "10") != (m.Notification != nil) {
		return invalid("message.apns.headers", "an alert needs a notification, a background push must have none")
	}
	if want == "5" && m.APNS.Payload.Aps["content-available"] != float64(1) {
		return invalid("message.apns.payload", "a background push needs content-available 1")
	}
	return nil
}
