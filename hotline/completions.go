package hotline

import (
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultLimit = 100
	// maxRecordBytes ends a page early: records with long notes shall not make an answer that a client refuses.
	maxRecordBytes = 1 << 20
)

// ListCompletions lists sealed completions in the order in which they were sealed, behind a cursor, without gaps: the place
// in the feed was taken in the transaction that sealed. With claims, those of categories that close on the claim come when they are
// claimed, too, and again when they are sealed. A page ends early at about 1 MiB of records. With wait_seconds an
// answer without completions comes only after that time, or when the server stops. With unacknowledged what was acknowledged is
// left out: who asks so from the empty cursor gets each completion again until it is.
// Errors: Invalid "cursor_invalid", OutOfRange "cursor_ahead".
func (s *Service) ListCompletions(ctx context.Context, request *fieldsyncv1.ListCompletionsRequest) (*fieldsyncv1.ListCompletionsResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	at, err := parseFeedCursor(request.GetCursor(), s.store.ServerEpoch(), request.GetClaims())
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.ListCompletionsResponse
	err = s.poll(ctx, store.FeedTopic, request.GetWaitSeconds(), func() (found bool, err error) {
		response, _, err = s.listCompletions(ctx, at, pageSize(request.GetLimit()), request.GetUnacknowledged())
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
	at, err := parseFeedCursor(request.GetCursor(), s.store.ServerEpoch(), request.GetClaims())
	if err != nil {
		return err
	}
	last := request.GetCursor()
	return s.follow(ctx, store.FeedTopic, func() (bool, error) {
		page, behind, err := s.listCompletions(ctx, at, defaultLimit, false)
		if err != nil {
			return false, err
		}
		if len(page.GetCompletions()) > 0 {
			last, at = page.GetCursor(), behind
		}
		return page.GetMore(), stream.Send(&fieldsyncv1.WatchCompletionsResponse{Completions: page.GetCompletions(), Cursor: last})
	})
}

// listCompletions lists a page, and returns the place behind it.
func (s *Service) listCompletions(ctx context.Context, at feedCursor, limit int, unacknowledged bool) (*fieldsyncv1.ListCompletionsResponse, feedCursor, error) {
	response := &fieldsyncv1.ListCompletionsResponse{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		if err := at.check(tx, s.store.ServerEpoch()); err != nil {
			return err
		}
		var readers []*reader
		for i, list := range at.lists() {
			r, stop, err := list.read(tx, at.sequences[i], unacknowledged)
			if err != nil {
				return err
			}
			defer stop()
			readers = append(readers, r)
		}
		for size := 0; ; {
			first := earliest(readers...)
			if first == nil {
				return nil
			}
			if len(response.GetCompletions()) == limit || size >= maxRecordBytes {
				response.More = true
				return nil
			}
			completion, err := showCompletion(first.completion)
			if err != nil {
				return err
			}
			size += len(completion.GetRecord())
			at.sequences[slices.Index(readers, first)] = first.sequence
			response.Completions, response.Cursor = append(response.Completions, completion), at.bytes()
			if err := first.advance(unacknowledged); err != nil {
				return err
			}
		}
	})
	return response, at, err
}

// showCompletion shows a completion as it is: the sealed record, and before that the claim's, which nobody signed.
func showCompletion(stored *storagev1.Completion) (*fieldsyncv1.Completion, error) {
	record := stored.GetRecord()
	if !isSealed(stored) {
		record = stored.GetClaimedRecord()
	}
	decoded := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(record, decoded); err != nil {
		return nil, fmt.Errorf("the record of the completion %s is damaged: %w", stored.GetId(), err)
	}
	return &fieldsyncv1.Completion{
		Id:        stored.GetId(),
		Record:    record,
		Signature: stored.GetSignature(),
		KeyId:     stored.GetKeyId(),
		State:     stored.GetState(),
		Decoded:   decoded,
		Reopened:  stored.GetReopened(),

		SupersededBy: stored.GetSupersededBy(),
	}, nil
}
