package hotline

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultLimit = 100
	// feedTopic is what proof signals with a sealed completion (proof.FeedTopic): the rooms meet in the store, never by import.
	feedTopic = "feed"
	// maxRecordBytes ends a page early: records with long notes shall not make an answer that a client refuses.
	maxRecordBytes = 1 << 20
)

// ListCompletions lists sealed completions in the order in which they were sealed, behind a cursor, without gaps: the place
// in the feed was taken in the transaction that sealed. A page ends early at about 1 MiB of records. With wait_seconds an
// answer without completions comes only after that time, or when the server stops. With unacknowledged what was acknowledged is
// left out: who asks so from the empty cursor gets each completion again until it is.
// Errors: Invalid "cursor_invalid", OutOfRange "cursor_ahead".
func (s *Service) ListCompletions(ctx context.Context, request *fieldsyncv1.ListCompletionsRequest) (*fieldsyncv1.ListCompletionsResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	at, err := parseCursor(completionCursor, request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.ListCompletionsResponse
	err = s.poll(ctx, feedTopic, request.GetWaitSeconds(), func() (found bool, err error) {
		response, err = s.listCompletions(ctx, at, pageSize(request.GetLimit()), request.GetUnacknowledged())
		return len(response.GetCompletions()) > 0, err
	})
	if err != nil {
		return nil, err
	}
	if len(response.GetCompletions()) == 0 {
		response.Cursor = request.GetCursor()
	}
	return response, nil
}

// WatchCompletions streams the feed behind a cursor, in pages as ListCompletions has them, and a message without completions
// every 30 seconds. Errors: as ListCompletions; Unavailable "shutting_down".
func (s *Service) WatchCompletions(ctx context.Context, request *fieldsyncv1.WatchCompletionsRequest, stream *connect.ServerStream[fieldsyncv1.WatchCompletionsResponse]) error {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return err
	}
	at, err := parseCursor(completionCursor, request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return err
	}
	last := request.GetCursor()
	return s.follow(ctx, feedTopic, func() (bool, error) {
		page, err := s.listCompletions(ctx, at, defaultLimit, false)
		if err != nil {
			return false, err
		}
		if len(page.GetCompletions()) > 0 {
			last = page.GetCursor()
			if at, err = parseCursor(completionCursor, last, s.store.ServerEpoch()); err != nil {
				return false, err
			}
		}
		return page.GetMore(), stream.Send(&fieldsyncv1.WatchCompletionsResponse{Completions: page.GetCompletions(), Cursor: last})
	})
}

func (s *Service) listCompletions(ctx context.Context, at cursor, limit int, unacknowledged bool) (*fieldsyncv1.ListCompletionsResponse, error) {
	response := &fieldsyncv1.ListCompletionsResponse{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		head, err := store.Get(tx, store.FeedHeadKey())
		if err != nil {
			return err
		}
		if err := at.check(s.store.ServerEpoch(), head); err != nil {
			return err
		}
		if unacknowledged {
			done, err := store.Get(tx, store.FeedAcknowledgedKey())
			if err != nil {
				return err
			}
			at.sequence = max(at.sequence, done.GetSequence())
		}
		var size int
		for stub, err := range store.Scan(tx, store.Feed(), store.FeedKey(at.sequence)) {
			if err != nil {
				return err
			}
			if len(response.GetCompletions()) == limit || size >= maxRecordBytes {
				response.More = true
				return nil
			}
			stored, err := store.Get(tx, store.CompletionKey(stub.GetId()))
			if err != nil {
				return err
			}
			if unacknowledged && acknowledged(stored) {
				continue
			}
			completion, err := showCompletion(stored)
			if err != nil {
				return err
			}
			at.sequence, size = stored.GetFeedSequence(), size+len(stored.GetRecord())
			response.Completions, response.Cursor = append(response.Completions, completion), at.bytes()
		}
		return nil
	})
	return response, err
}

func showCompletion(stored *storagev1.Completion) (*fieldsyncv1.Completion, error) {
	decoded := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(stored.GetRecord(), decoded); err != nil {
		return nil, fmt.Errorf("the signed record of the completion %s is damaged: %w", stored.GetId(), err)
	}
	return &fieldsyncv1.Completion{
		Id:        stored.GetId(),
		Record:    stored.GetRecord(),
		Signature: stored.GetSignature(),
		KeyId:     stored.GetKeyId(),
		State:     stored.GetState(),
		Decoded:   decoded,
		Reopened:  stored.GetReopened(),

		SupersededBy: stored.GetSupersededBy(),
	}, nil
}
