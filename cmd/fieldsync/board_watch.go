package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

// watchAgain is how long a watched board waits before it connects again.
const watchAgain = 2 * time.Second

// watch lists the board and prints what changes until Ctrl-C, also over a restart of the server: then it lists the board anew.
func (p *boardPrinter) watch(cmd *cobra.Command, profile string, shown *fieldsyncv1.ListBoardRequest) error {
	ctx, begun := cmd.Context(), false
	for {
		err := asOperator(profile, func(o operator) error {
			stream, err := watchBoard(ctx, o, shown.GetFilter())
			if err != nil {
				return err
			}
			defer func() { _ = stream.Close() }() // What matters was read.
			// What changes while the board is listed is in the stream.
			if err := p.list(ctx, o, shown); err != nil {
				return err
			}
			begun = true
			// Whoever looks on in one terminal works in another, with the same identity: let go of it.
			if err := o.Close(); err != nil {
				return err
			}
			return p.follow(stream)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Whoever watched has seen enough.
		}
		if !begun || !again(err) {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), p.tr("Mất kết nối với máy chủ; đang kết nối lại…", "The connection to the server is lost; connecting again…"))
		select {
		case <-time.After(watchAgain):
		case <-ctx.Done():
			return nil
		}
	}
}

// again tells whether a board that was watched may be watched again after such an end: not where the same would be refused once more.
func again(err error) bool {
	refused, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err == nil || fault.CodeOf(err) != "" // As another command that has the profile at the moment.
	}
	return !slices.Contains([]connect.Code{
		connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeUnimplemented,
	}, refused.Code())
}

// watchBoard is a stream of changes that the server has begun. It asks for a token once, and needs the operator no longer.
func watchBoard(ctx context.Context, o operator, filter *fieldsyncv1.BoardFilter) (*connect.ServerStreamForClient[fieldsyncv1.WatchBoardResponse], error) {
	token, err := o.Token(ctx)
	if err != nil {
		return nil, err
	}
	ctx, call := connect.NewClientContext(ctx)
	call.RequestHeader().Set("Authorization", "Bearer "+token)
	stream, err := fieldsyncv1connect.NewBoardServiceClient(http.DefaultClient, o.server).WatchBoard(ctx, &fieldsyncv1.WatchBoardRequest{Filter: filter})
	if err != nil {
		return nil, err
	}
	if !stream.Receive() { // The first message says that it has begun.
		ended := connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF)
		return nil, errors.Join(cmp.Or(stream.Err(), error(ended)), stream.Close())
	}
	return stream, nil
}

// follow prints what changes until the stream ends.
func (p *boardPrinter) follow(stream *connect.ServerStreamForClient[fieldsyncv1.WatchBoardResponse]) error {
	for stream.Receive() {
		for _, r := range stream.Msg().GetRows() {
			if err := p.row(r); err != nil {
				return err
			}
		}
		for _, id := range stream.Msg().GetGone() {
			if err := p.write(id, p.tr("không còn ở đây", "gone from here")); err != nil {
				return err
			}
		}
		if stream.Msg().GetLost() {
			if err := p.write(p.tr("Nhiều thay đổi cùng lúc: hãy tải lại bảng.", "Much has changed at once: list the board again.")); err != nil {
				return err
			}
		}
		if err := p.flush(); err != nil {
			return err
		}
	}
	return stream.Err()
}
