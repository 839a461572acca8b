package hotline

import (
	"context"
	"fmt"

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
// in the feed was taken in the transaction that sealed. A page ends early at about 1 MiB of records.
// Errors: Invalid "cursor_invalid", OutOfRange "cursor_ahead".
func (s *Service) ListCompletions(ctx context.Context, request *fieldsyncv1.ListCompletionsRequest) (*fieldsyncv1.ListCompletionsResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	at, err := parseCursor(request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return nil, err
	}
	limit := int(request.GetLimit())
	if limit == 0 {
		limit = defaultLimit
	}
	response := &fieldsyncv1.ListCompletionsResponse{Cursor: request.GetCursor()}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		head, err := store.Get(tx, store.FeedHeadKey())
		if err != nil {
			return err
		}
		if at.serverEpoch != s.store.ServerEpoch() || at.sequence > head.GetSequence() {
			return cursorAhead()
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
			completion, err := showCompletion(stored)
			if err != nil {
				return err
			}
			at.sequence, size = stored.GetFeedSequence(), size+len(stored.GetRecord())
			response.Completions, response.Cursor = append(response.Completions, completion), at.bytes()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
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
	}, nil
}
