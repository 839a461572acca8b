package audit

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// ordinary are the calls that are no acts though their names do not say so: what phones do all the time, of which the tasks themselves
// tell, and what an operator has looked at or shipped, which changes nothing.
var ordinary = []string{
	fieldsyncv1connect.SyncServiceSyncProcedure,
	fieldsyncv1connect.SyncServiceRepairProcedure,
	fieldsyncv1connect.MediaServiceDeclareProcedure,
	fieldsyncv1connect.MediaServiceCommitProcedure,
	fieldsyncv1connect.IdentityServiceRefreshProcedure, // Some are: see refreshed.
	fieldsyncv1connect.IdentityServiceRegisterPushProcedure,
	fieldsyncv1connect.IdentityServiceWhoAmIProcedure,
	fieldsyncv1connect.OperationsServiceCheckNowProcedure,
	fieldsyncv1connect.OperationsServiceBackUpNowProcedure,
}

// telling are readings that are acts: what they tell goes beyond the work of the day.
var telling = []string{
	fieldsyncv1connect.AuditServiceListAuditEntriesProcedure,
	fieldsyncv1connect.FalseReportServiceGetDossierProcedure,
}

// readings begin the names of methods that change nothing.
var readings = []string{"List", "Get", "Watch", "Await", "Explain", "Suggest"}

// isAct tells whether a call enters the log. Whatever nobody has thought of does.
func isAct(procedure string) bool {
	_, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	reads := slices.ContainsFunc(readings, func(begin string) bool { return strings.HasPrefix(method, begin) })
	return strings.HasPrefix(procedure, "/fieldsync.") && !slices.Contains(ordinary, procedure) && (!reads || slices.Contains(telling, procedure))
}

// nameOf is how a procedure stands in an entry.
func nameOf(procedure string) string { return strings.TrimPrefix(procedure, "/fieldsync.v1.") }

// WrapUnary implements connect.Interceptor. It stands within what checks the request's rules: what breaks those is no act.
func (l *Log) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if !isAct(req.Spec().Procedure) {
			resp, err := next(ctx, req)
			if req.Spec().Procedure == fieldsyncv1connect.IdentityServiceRefreshProcedure {
				l.refreshed(ctx, req, resp, err)
			}
			return resp, err
		}
		message, _ := req.Any().(proto.Message) // Always one.
		within, a := l.begin(ctx, nameOf(req.Spec().Procedure), req.Peer().Addr, subjectsOf(message.ProtoReflect()))
		resp, err := next(within, req)
		if err == nil {
			a.answered(resp)
		}
		a.end(ctx, outcomeOf(err))
		return resp, err
	}
}

// WrapStreamingHandler implements connect.Interceptor. Streams only read.
func (l *Log) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements connect.Interceptor. The server is nobody's client.
func (l *Log) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// answered adds what only the answer names: the device of an enrolment, the task of a ticket.
func (a *act) answered(resp connect.AnyResponse) {
	message, ok := resp.Any().(proto.Message)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := len(a.entry.GetSubjects())
	a.entry.Subjects = answeredWith(message.ProtoReflect(), a.entry.GetSubjects())
	a.written = a.written && len(a.entry.GetSubjects()) == before // Else once more, under the same id.
}

// Refused enters a call that its caller's role does not reach.
func (l *Log) Refused(ctx context.Context, procedure, address string, err error) {
	_, a := l.begin(ctx, nameOf(procedure), address, nil)
	if a.entry.GetMemberId() != "" { // Strangers come in any number, and stand in the server's log.
		a.end(ctx, outcomeOf(err))
	}
}

// Route enters the acts of a plain route: whatever is not only read. Who acts is heard from auth (auth.WithCaller),
// what it is about from the room (About).
func (l *Log) Route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		path := r.URL.EscapedPath() // As it came: decoded, it may be no text.
		ctx, a := l.begin(r.Context(), r.Method+" "+path[:min(len(path), maxPath)], r.RemoteAddr, nil)
		answer := &status{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(answer, r.WithContext(ctx))
		outcome := "ok"
		if answer.code >= http.StatusBadRequest {
			outcome = "http_" + strconv.Itoa(answer.code)
		}
		a.end(r.Context(), outcome)
	})
}

// status remembers an answer's.
type status struct {
	http.ResponseWriter

	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
