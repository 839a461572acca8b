package server

import (
	"context"
	"log/slog"
	"runtime/debug"

	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

// faultInterceptor stands outermost and puts the errors of all within on the wire.
type faultInterceptor struct{ log *slog.Logger }

// WrapUnary implements connect.Interceptor.
func (i faultInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		if err != nil {
			return nil, i.wire(ctx, err)
		}
		return resp, nil
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (i faultInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := next(ctx, conn); err != nil {
			return i.wire(ctx, err)
		}
		return nil
	}
}

// WrapStreamingClient implements connect.Interceptor. The server is nobody's client.
func (i faultInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i faultInterceptor) wire(ctx context.Context, err error) *connect.Error {
	wired := faultwire.Connect(ctx, i.log, err)
	if wired.Code() == connect.CodeInvalidArgument && !hasInfo(wired) {
		if detail, derr := connect.NewErrorDetail(faultwire.Info(requestInvalid(wired))); derr == nil {
			wired.AddDetail(detail)
		}
	}
	return wired
}

func hasInfo(err *connect.Error) bool {
	for _, detail := range err.Details() {
		if detail.Type() == string((&fieldsyncv1.ErrorInfo{}).ProtoReflect().Descriptor().FullName()) {
			return true
		}
	}
	return false
}

func stack() string { return string(debug.Stack()) }
