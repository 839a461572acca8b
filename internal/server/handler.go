package server

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"
	connectcors "connectrpc.com/cors"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"github.com/rs/cors"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/push"
)

const (
	// maxMessageBytes bounds a request message, decompressed: 200 mutations of the largest size fit.
	maxMessageBytes = 4 << 20
	// maxBodyBytes bounds what is read of a request's body as it comes over the wire. Uploads have bounds of their own.
	maxBodyBytes = maxMessageBytes + 64<<10
	// maxPublicBytes bounds a message to the procedures that anybody may call, compressed and decompressed: an enrolment with the
	// longest proof and name has less than half of it.
	maxPublicBytes = 16 << 10
	// compressAboveBytes: below it gzip makes an answer larger rather than smaller.
	compressAboveBytes = 512
)

// services are what health and reflection tell of.
var services = []string{
	fieldsyncv1connect.SyncServiceName,
	fieldsyncv1connect.SupportServiceName,
	fieldsyncv1connect.MediaServiceName,
	fieldsyncv1connect.HoldServiceName,
	fieldsyncv1connect.DispatchServiceName,
	fieldsyncv1connect.AssignmentServiceName,
	fieldsyncv1connect.BoardServiceName,
	fieldsyncv1connect.CategoryServiceName,
	fieldsyncv1connect.CrewServiceName,
	fieldsyncv1connect.ReviewServiceName,
	fieldsyncv1connect.DeadlineServiceName,
	fieldsyncv1connect.EscalationServiceName,
	fieldsyncv1connect.TerritoryServiceName,
	fieldsyncv1connect.HotlineServiceName,
	fieldsyncv1connect.ProofServiceName,
	fieldsyncv1connect.FalseReportServiceName,
	fieldsyncv1connect.IdentityServiceName,
	fieldsyncv1connect.OperationsServiceName,
	fieldsyncv1connect.AuditServiceName,
	fieldsyncv1connect.PrivacyServiceName,
}

// Handler mounts every face of the server. From the outside in: who calls through a proxy, patience with slow clients (also those whose
// questions CORS answers), CORS, security headers, the limits of an address, authentication, the limits of a device, the right to call at
// all, then for RPCs the bound on the body, the request's rules, and the room.
func (s *Rooms) Handler() http.Handler {
	options := []connect.HandlerOption{
		connect.WithRequestGate(s.allowed),
		connect.WithReadMaxBytes(maxMessageBytes),
		connect.WithCompression("gzip", newBoundedGzip(maxMessageBytes), newGzip),
		connect.WithCompression("zstd", newBoundedZstd(maxMessageBytes), newZstd),
		connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption {
			if !auth.IsPublic(spec.Procedure) {
				return nil
			}
			return []connect.HandlerOption{
				connect.WithReadMaxBytes(maxPublicBytes),
				connect.WithCompression("gzip", newBoundedGzip(maxPublicBytes), newGzip),
				connect.WithCompression("zstd", newBoundedZstd(maxPublicBytes), newZstd),
			}
		}),
		connect.WithCodec(protoCodec{}),
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithCompressMinBytes(compressAboveBytes),
		connect.WithInterceptors(faultInterceptor{s.log}),
		connect.WithRecover(s.recovered), // Within the former, which puts its fault on the wire.
		connect.WithInterceptors(validate.NewInterceptor()),
		connect.WithInterceptors(s.audit),
	}
	rpcs := http.NewServeMux()
	rpcs.Handle(fieldsyncv1connect.NewSyncServiceHandler(s.sync, options...))
	rpcs.Handle(fieldsyncv1connect.NewSupportServiceHandler(s.sync, options...))
	rpcs.Handle(fieldsyncv1connect.NewMediaServiceHandler(s.media, options...))
	rpcs.Handle(fieldsyncv1connect.NewHoldServiceHandler(s.media, options...))
	rpcs.Handle(fieldsyncv1connect.NewDispatchServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewAssignmentServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewBoardServiceHandler(s.board, options...))
	rpcs.Handle(fieldsyncv1connect.NewCategoryServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewCrewServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewReviewServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewDeadlineServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewEscalationServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewTerritoryServiceHandler(s.dispatch, options...))
	rpcs.Handle(fieldsyncv1connect.NewHotlineServiceHandler(s.hotline, options...))
	rpcs.Handle(fieldsyncv1connect.NewProofServiceHandler(s.sealer, options...))
	rpcs.Handle(fieldsyncv1connect.NewFalseReportServiceHandler(s.falseReports, options...))
	rpcs.Handle(fieldsyncv1connect.NewIdentityServiceHandler(s.auth, options...))
	rpcs.Handle(fieldsyncv1connect.NewOperationsServiceHandler(s.operations, options...))
	rpcs.Handle(fieldsyncv1connect.NewAuditServiceHandler(s.audit, options...))
	rpcs.Handle(fieldsyncv1connect.NewPrivacyServiceHandler(s.hotline, options...))
	ready := health{s.store.Failed(), s.unready}
	rpcs.Handle(grpchealth.NewHandler(ready, options...))
	reflector := grpcreflect.NewStaticReflector(services...)
	rpcs.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	rpcs.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))

	mux := http.NewServeMux()
	mux.Handle("/", boundedBody(rpcs))
	mux.Handle(auth.SignInRoute, s.audit.Route(http.HandlerFunc(s.auth.SignIn)))
	mux.Handle("POST /oauth/token", s.auth.TokenEndpoint(s.log))
	mux.Handle("/.well-known/jwks.json", s.auth.JWKS())
	mux.Handle("/.well-known/fieldsync-proof-keys.json", s.sealer.Keys(s.log))
	mux.Handle("/.well-known/fieldsync-log-keys.txt", s.sealer.LogKeys(s.log))
	mux.Handle("/.well-known/fieldsync-web-push-key.txt", push.WebPushKey(s.store, s.log))
	mux.Handle("GET /livez", ready.live())
	mux.Handle("GET /readyz", ready.ready())
	s.media.Routes(mux)
	geoReport := http.NewServeMux()
	s.open311.Routes(geoReport)
	mux.Handle("/open311/", s.audit.Route(geoReport))

	limits := newQuotas(s.edge, time.Now)
	patient := patience{body: s.edge.BodyTimeout, write: s.edge.WriteTimeout, now: time.Now, log: s.log}
	known := limits.byAddress(s)(s.auth.Middleware(s.log)(limits.byDevice(s)(auth.Routed(mux, s.log))))
	return s.proxies.believed(patient.handler(s.cors().Handler(securityHeaders(s.guarded(known)))))
}

// boundedBody bounds what is read of a message as it comes over the wire, and keeps answers out of caches: they are a caller's own.
func boundedBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := int64(maxBodyBytes)
		if auth.IsPublic(r.URL.Path) {
			most = maxPublicBytes + 1<<10
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// cors lets web pages of the configured origins call: Connect and gRPC-Web with a token, and tus.
func (s *Rooms) cors() *cors.Cors {
	tus := []string{
		"Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Defer-Length", "Upload-Concat",
		"Tus-Version", "Tus-Max-Size", "Tus-Extension", "X-HTTP-Method-Override", "X-Requested-With",
	}
	return cors.New(cors.Options{
		AllowedOrigins: s.origins,
		// With an empty list the library would allow every origin.
		AllowOriginFunc: deniedIfNone(s.origins),
		AllowedMethods:  append(connectcors.AllowedMethods(), http.MethodHead, http.MethodPatch),
		AllowedHeaders:  append(append(connectcors.AllowedHeaders(), "Authorization", "Range"), tus...),
		ExposedHeaders:  append(append(connectcors.ExposedHeaders(), "Location", "ETag", "Content-Range"), tus...),
		MaxAge:          7200,
	})
}

func deniedIfNone(origins []string) func(string) bool {
	if len(origins) > 0 {
		return nil
	}
	return func(string) bool { return false }
}

func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if r.URL.Scheme == "https" {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000") // RFC 6797; a year.
		}
		next.ServeHTTP(w, r)
	})
}

// allowed refuses a call that the caller's role does not reach before a byte of its message is read or decompressed.
func (s *Rooms) allowed(ctx context.Context, spec connect.Spec, peer connect.Peer, _ http.Header) (context.Context, error) {
	if err := auth.AllowedIn(ctx, spec.Procedure); err != nil {
		s.audit.Refused(ctx, spec.Procedure, peer.Addr, err)
		return nil, faultwire.Connect(ctx, s.log, err)
	}
	return ctx, nil
}

// recovered turns a panic in a room into an internal error of that one call.
func (s *Rooms) recovered(ctx context.Context, spec connect.Spec, _ http.Header, reason any) error {
	s.log.ErrorContext(ctx, "panic", "procedure", spec.Procedure, "reason", reason, "stack", stack())
	return fault.New(fault.Internal, "internal", "Lỗi bên trong máy chủ.", "An error inside the server.")
}

// guarded logs a panic outside the RPCs (uploads, downloads) and cuts the connection: part of an answer may have gone out.
func (s *Rooms) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		defer func() {
			switch reason := recover(); reason {
			case nil:
			case http.ErrAbortHandler:
				panic(reason)
			default:
				s.log.ErrorContext(ctx, "panic", "path", r.URL.Path, "reason", reason, "stack", stack())
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
