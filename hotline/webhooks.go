package hotline

import (
	"context"
	"encoding/base64"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// WebhooksTopic is signalled when a webhook was registered, changed or replayed.
	WebhooksTopic = "webhooks"

	maxWebhooks = 20
	// secretOverlap is for how long a secret that was replaced goes on signing beside the new one.
	secretOverlap = 24 * time.Hour
	secretBytes   = 32
)

// PutWebhook registers a webhook, from now on, or changes one. Errors: Invalid "webhook_url_invalid", Exhausted "webhooks_full".
func (s *Service) PutWebhook(ctx context.Context, request *fieldsyncv1.PutWebhookRequest) (*fieldsyncv1.PutWebhookResponse, error) {
	if err := s.checkWebhookURL(request.GetUrl()); err != nil {
		return nil, err
	}
	var response *fieldsyncv1.PutWebhookResponse
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		hook, err := store.Get(tx, store.WebhookKey(request.GetId()))
		if err != nil {
			return err
		}
		response = &fieldsyncv1.PutWebhookResponse{}
		if hook == nil {
			if hook, err = newWebhook(tx, request.GetId()); err != nil {
				return err
			}
		}
		if request.GetRotateSecret() || len(hook.GetSecrets()) == 0 {
			if response.Secret, err = rotate(tx, hook); err != nil {
				return err
			}
		}
		shown := hook.GetShown()
		shown.Url, shown.Completions, shown.TicketChanges = request.GetUrl(), request.GetCompletions(), request.GetTicketChanges()
		shown.EndedAt, shown.PausedUntil, hook.Failures = nil, nil, 0
		tx.Signal(WebhooksTopic)
		if err := store.Put(tx, store.WebhookKey(request.GetId()), hook); err != nil {
			return err
		}
		response.Webhook, err = showWebhook(tx, hook)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "webhook put", "webhook", request.GetId(), "secret_made", response.GetSecret() != "")
	return response, nil
}

// newWebhook begins at the heads of both logs.
func newWebhook(tx *store.Tx, id string) (*storagev1.Webhook, error) {
	count := 0
	for _, err := range store.Scan(tx, store.Webhooks(), nil) {
		if err != nil {
			return nil, err
		}
		count++
	}
	if count >= maxWebhooks {
		return nil, fault.New(fault.Exhausted, "webhooks_full",
			"Đã có 20 webhook: hãy xóa bớt.", "There are 20 webhooks already: delete some.")
	}
	completions, err := store.Get(tx, store.FeedHeadKey())
	if err != nil {
		return nil, err
	}
	changes, err := store.Get(tx, store.TicketChangeHeadKey())
	return &storagev1.Webhook{
		Shown:              &fieldsyncv1.Webhook{Id: id},
		CompletionSequence: completions.GetSequence(), ChangeSequence: changes.GetSequence(),
	}, err
}

func rotate(tx *store.Tx, hook *storagev1.Webhook) (string, error) {
	key := make([]byte, secretBytes)
	if err := tx.Random(key); err != nil {
		return "", err
	}
	secrets := []*storagev1.WebhookSecret{{Key: key}}
	if former := hook.GetSecrets(); len(former) > 0 {
		secrets = append(secrets, &storagev1.WebhookSecret{Key: former[0].GetKey(), Until: timestamppb.New(tx.Now().Add(secretOverlap))})
	}
	hook.Secrets = secrets
	return "whsec_" + base64.StdEncoding.EncodeToString(key), nil
}

func (s *Service) checkWebhookURL(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Hostname() != "" && u.User == nil && u.Fragment == "" && (u.Scheme == "https" || (u.Scheme == "http" && s.plainWebhooks)) {
		return nil
	}
	return fault.New(fault.Invalid, "webhook_url_invalid",
		"Địa chỉ webhook phải là https, không có tên người dùng và không có phần sau dấu #.",
		"A webhook's address is https, without a user and without a fragment.")
}

// ListWebhooks lists them by id.
func (s *Service) ListWebhooks(ctx context.Context, _ *fieldsyncv1.ListWebhooksRequest) (*fieldsyncv1.ListWebhooksResponse, error) {
	response := &fieldsyncv1.ListWebhooksResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		for hook, err := range store.Scan(tx, store.Webhooks(), nil) {
			if err != nil {
				return err
			}
			shown, err := showWebhook(tx, hook)
			if err != nil {
				return err
			}
			response.Webhooks = append(response.Webhooks, shown)
		}
		return nil
	})
}

func showWebhook(tx *store.Tx, hook *storagev1.Webhook) (*fieldsyncv1.Webhook, error) {
	shown := proto.CloneOf(hook.GetShown())
	for _, err := range store.Scan(tx, store.WebhookRetries(shown.GetId()), nil) {
		if err != nil {
			return nil, err
		}
		shown.Waiting++
	}
	for _, err := range store.Scan(tx, store.WebhookDead(shown.GetId()), nil) {
		if err != nil {
			return nil, err
		}
		shown.GivenUp++
	}
	return shown, nil
}

// DeleteWebhook ends a webhook, with all that it still had to post.
func (s *Service) DeleteWebhook(ctx context.Context, request *fieldsyncv1.DeleteWebhookRequest) (*fieldsyncv1.DeleteWebhookResponse, error) {
	id := request.GetId()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if err := forgetFailed(tx, id, 0, 0); err != nil {
			return err
		}
		return store.Delete(tx, store.WebhookKey(id))
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "webhook deleted", "webhook", id)
	return &fieldsyncv1.DeleteWebhookResponse{}, nil
}

// forgetFailed removes what a webhook has to repeat or has given up, as far as it stands behind the places given.
func forgetFailed(tx *store.Tx, id string, completions, changes uint64) error {
	behind := func(retry *storagev1.WebhookRetry) bool {
		if retry.GetCompletion() {
			return retry.GetSequence() > completions
		}
		return retry.GetSequence() > changes
	}
	var retries []store.Key[storagev1.WebhookRetry]
	for retry, err := range store.Scan(tx, store.WebhookRetries(id), nil) {
		if err != nil {
			return err
		}
		if behind(retry) {
			retries = append(retries, store.WebhookRetryKey(id, retry.GetDueAt().AsTime(), RetryList(retry), retry.GetSequence()))
		}
	}
	for retry, err := range store.Scan(tx, store.WebhookDead(id), nil) {
		if err != nil {
			return err
		}
		if behind(retry) {
			retries = append(retries, store.WebhookDeadKey(id, RetryList(retry), retry.GetSequence()))
		}
	}
	for _, key := range retries {
		if err := store.Delete(tx, key); err != nil {
			return err
		}
	}
	return nil
}

// RetryList is the part of a key that tells of which log a retry is.
func RetryList(retry *storagev1.WebhookRetry) string {
	if retry.GetCompletion() {
		return "c"
	}
	return "t"
}

// ReplayWebhook posts again what has come since a time. Errors: NotFound "webhook_unknown".
func (s *Service) ReplayWebhook(ctx context.Context, request *fieldsyncv1.ReplayWebhookRequest) (*fieldsyncv1.ReplayWebhookResponse, error) {
	since := request.GetSince().AsTime() // 1970 where it is absent.
	var events uint64
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		events = 0
		hook, err := store.Get(tx, store.WebhookKey(request.GetId()))
		if err != nil {
			return err
		}
		if hook == nil {
			return fault.New(fault.NotFound, "webhook_unknown", "Không có webhook này.", "There is no such webhook.")
		}
		completions, err := sealedBefore(tx, since, hook.GetCompletionSequence())
		if err != nil {
			return err
		}
		changes := hook.GetChangeSequence()
		for stub, err := range store.Scan(tx, store.TicketChangesAt(), store.TicketChangeAtKey(since, 0)) {
			if err != nil {
				return err
			}
			changes = min(changes, stub.GetSequence()-1)
		}
		if hook.GetShown().GetCompletions() {
			events += hook.GetCompletionSequence() - completions
		}
		if hook.GetShown().GetTicketChanges() {
			events += hook.GetChangeSequence() - changes
		}
		hook.CompletionSequence, hook.ChangeSequence = completions, changes
		hook.Shown.PausedUntil, hook.Failures = nil, 0
		if err := forgetFailed(tx, request.GetId(), completions, changes); err != nil { // It comes again anyway.
			return err
		}
		tx.Signal(WebhooksTopic)
		return store.Put(tx, store.WebhookKey(request.GetId()), hook)
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "webhook replayed", "webhook", request.GetId(), "events", events)
	return &fieldsyncv1.ReplayWebhookResponse{Events: events}, nil
}

// sealedBefore is the newest place in the feed, up to head, whose completion was sealed before a time. Places were taken in the
// order of sealing, so it halves.
func sealedBefore(tx *store.Tx, since time.Time, head uint64) (uint64, error) {
	low, high := uint64(0), head
	for low < high {
		middle := low + (high-low+1)/2
		stub, err := store.Get(tx, store.FeedKey(middle))
		if err != nil {
			return 0, err
		}
		completion, err := store.Get(tx, store.CompletionKey(stub.GetId()))
		if err != nil {
			return 0, err
		}
		if completion.GetSealedAt().AsTime().Before(since) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}
