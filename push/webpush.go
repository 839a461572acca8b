package push

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	webpush "github.com/SherClockHolmes/webpush-go"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// webPushTTL is how long a browser's push service keeps a message for a browser that is not there, in seconds: a day. Later the
// page syncs by itself when it is opened.
const webPushTTL = 24 * 60 * 60

// WebPushOptions say as whom to send to browsers.
type WebPushOptions struct {
	// Keys are those of the store: see OpenWebPushKeys.
	Keys *storagev1.WebPushKeys
	// Contact is a mail address or an https URL at which push services can reach the operator (VAPID's sub).
	Contact string
	// Client connects to push services, whose addresses browsers choose: one that reaches public addresses only.
	Client *http.Client
}

// WebPush is the Sender to browsers: Web Push (RFC 8030) with VAPID (RFC 8292), encrypted for the browser alone (RFC 8291).
type WebPush struct {
	o WebPushOptions
}

// NewWebPush makes the Sender.
func NewWebPush(o WebPushOptions) *WebPush { return &WebPush{o} }

// OpenWebPushKeys returns the server's key pair, which is made at the first call and durable then. Browsers subscribe for the
// public one: with another, all subscriptions are void.
func OpenWebPushKeys(ctx context.Context, st *store.Store) (keys *storagev1.WebPushKeys, err error) {
	err = st.Update(ctx, func(tx *store.Tx) error {
		if keys, err = store.Get(tx, store.WebPushKeysKey()); err != nil || keys != nil {
			return err
		}
		private, public, err := webpush.GenerateVAPIDKeys()
		if err != nil {
			return fmt.Errorf("making the key pair of web push: %w", err)
		}
		keys = &storagev1.WebPushKeys{PublicKey: public, PrivateKey: private}
		return store.Put(tx, store.WebPushKeysKey(), keys)
	})
	return keys, err
}

// WebPushKey serves the public key, which a page hands to PushManager.subscribe.
func WebPushKey(st *store.Store, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys, err := OpenWebPushKeys(r.Context(), st)
		if err != nil {
			log.ErrorContext(r.Context(), "the key of web push cannot be read", "error", err)
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, keys.GetPublicKey()+"\n")
	})
}

// Send implements Sender.
func (p *WebPush) Send(ctx context.Context, m Message) error {
	subscription := m.Address.GetWebPush()
	if m.Address.GetKind() != fieldsyncv1.PushKind_PUSH_KIND_WEB_PUSH {
		return fmt.Errorf("%w: web push does not know the address kind %v", ErrRejected, m.Address.GetKind())
	}
	said := map[string]string{"hint": "sync"}
	topic, urgency := silentCollapseKey, webpush.UrgencyNormal
	if m.Visible {
		said["title"] = m.title()
		topic, urgency = visibleCollapseKey, webpush.UrgencyHigh
	}
	payload, err := json.Marshal(said)
	if err != nil {
		return err
	}
	resp, err := webpush.SendNotificationWithContext(ctx, payload, &webpush.Subscription{
		Endpoint: subscription.GetEndpoint(),
		Keys: webpush.Keys{
			P256dh: base64.RawURLEncoding.EncodeToString(subscription.GetP256Dh()),
			Auth:   base64.RawURLEncoding.EncodeToString(subscription.GetAuth()),
		},
	}, &webpush.Options{
		HTTPClient: p.o.Client, Subscriber: p.o.Contact, Topic: topic, TTL: webPushTTL, Urgency: urgency,
		VAPIDPublicKey: p.o.Keys.GetPublicKey(), VAPIDPrivateKey: p.o.Keys.GetPrivateKey(),
	})
	if err != nil {
		// The error of an HTTP client quotes the address.
		if ctx.Err() != nil {
			return fmt.Errorf("web push: %w", ctx.Err())
		}
		return &RetryError{Err: errors.New("web push: the service cannot be reached")}
	}
	defer resp.Body.Close()
	return webPushOutcome(resp)
}

// webPushOutcome reads the answer as RFC 8030, section 8.3, and the push services' documents have it.
func webPushOutcome(resp *http.Response) error {
	err := fmt.Errorf("web push: HTTP %d", resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %w", ErrUnregistered, err)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %w", ErrRejected, err)
	default:
		return &RetryError{After: retryAfter(resp), Err: err}
	}
}

// ByKind is the Sender of a server that sends by several services: each message by the one of its address.
type ByKind struct {
	// Browsers gets what goes to browsers, Phones all else.
	Browsers, Phones Sender
}

// Send implements Sender.
func (s ByKind) Send(ctx context.Context, m Message) error {
	if m.Address.GetKind() == fieldsyncv1.PushKind_PUSH_KIND_WEB_PUSH {
		return s.Browsers.Send(ctx, m)
	}
	return s.Phones.Send(ctx, m)
}
