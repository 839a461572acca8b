// Package faultwire puts faults on the wire: one table from their kinds to codes, for every face of the server.
package faultwire

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// codes is the table: a kind's Connect code, from which the Connect protocol derives the HTTP status.
var codes = map[fault.Kind]connect.Code{
	fault.Invalid:         connect.CodeInvalidArgument,
	fault.NotFound:        connect.CodeNotFound,
	fault.Precondition:    connect.CodeFailedPrecondition,
	fault.OutOfRange:      connect.CodeOutOfRange,
	fault.Unauthenticated: connect.CodeUnauthenticated,
	fault.Denied:          connect.CodePermissionDenied,
	fault.Exhausted:       connect.CodeResourceExhausted,
	fault.Unavailable:     connect.CodeUnavailable,
	fault.DataLoss:        connect.CodeDataLoss,
}

// Connect turns any error into one that may be shown to a client: a fault with its code and an ErrorInfo; an error that is
// already Connect's, and the end of the caller's own context, as they are; everything else as a plain internal error,
// logged here, once.
func Connect(ctx context.Context, log *slog.Logger, err error) *connect.Error {
	var shown *connect.Error
	var f *fault.Error
	switch {
	case endedWith(ctx, err, &f):
		return withInfo(f)
	case errors.As(err, &shown):
		return shown
	case errors.As(err, &f):
		return withInfo(Judged(ctx, f))
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, context.DeadlineExceeded)
	}
	log.ErrorContext(ctx, "internal error", "error", err)
	return withInfo(fault.New(fault.Internal, "internal",
		"Lỗi bên trong máy chủ; yêu cầu có thể đã hoặc chưa được thực hiện. Hãy thử lại.",
		"An error inside the server; the request may or may not have taken effect. Try again."))
}

// endedWith tells whether the server itself has ended the call, and why: its context was cancelled with a fault as the cause.
func endedWith(ctx context.Context, err error, why **fault.Error) bool {
	return (errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled) && errors.As(context.Cause(ctx), why)
}

func withInfo(f *fault.Error) *connect.Error {
	code, ok := codes[f.Kind]
	if !ok {
		code = connect.CodeInternal
	}
	e := connect.NewError(code, errors.New(f.Error()))
	if f.RetryAfter > 0 {
		e.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds())))) // RFC 9110, 10.2.3: whole seconds.
	}
	if detail, err := connect.NewErrorDetail(Info(f)); err == nil {
		e.AddDetail(detail)
	}
	return e
}

// Info is what an answer tells of a fault: as an error's detail, or in the place of a part of the request that was refused.
func Info(f *fault.Error) *fieldsyncv1.ErrorInfo {
	info := &fieldsyncv1.ErrorInfo{
		Code:           f.Code,
		Message:        &fieldsyncv1.Sentence{Vi: f.Vi, En: f.En},
		ExpectedNumber: f.ExpectedNumber,
	}
	if f.RetryAfter > 0 {
		info.RetryAfter = durationpb.New(f.RetryAfter)
	}
	if !f.ServerTime.IsZero() {
		info.ServerTime = timestamppb.New(f.ServerTime)
	}
	return info
}

type judgeKey struct{}

// WithJudge returns a context in which judge has the last word on each fault before it goes on the wire: it may wait, and it may
// put another fault in its place. For what bounds guesses: every refusal passes here, whichever room says it.
func WithJudge(ctx context.Context, judge func(*fault.Error) *fault.Error) context.Context {
	return context.WithValue(ctx, judgeKey{}, judge)
}

// Judged is f after the judge of the context, if there is one. For faces that put faults on the wire by themselves.
func Judged(ctx context.Context, f *fault.Error) *fault.Error {
	if judge, ok := ctx.Value(judgeKey{}).(func(*fault.Error) *fault.Error); ok {
		return judge(f)
	}
	return f
}

// WriteHTTP answers a request outside the RPCs (tus, downloads) or before them (authentication) with err, in the shape and
// with the status that the request's protocol wants: JSON as the Connect protocol has it where it is no RPC.
func WriteHTTP(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	e := Connect(r.Context(), log, err)
	if werr := connect.NewErrorWriter().Write(w, r, e); werr != nil {
		log.DebugContext(r.Context(), "answering with an error", "error", werr)
	}
}
