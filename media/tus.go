package media

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	tusslog "golang.org/x/exp/slog"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

const (
	uploadsPath = "/v1/uploads/"
	tusVersion  = "1.0.0"
)

// newTus returns the two methods of tus that carry bytes, for requests whose owner is known. tusd's POST would open uploads
// that nobody declared and reset those that were; its GET and DELETE are not for phones.
func newTus(spool spool) (http.Handler, error) {
	composer := handler.NewStoreComposer()
	composer.UseCore(spool)
	composer.UseLocker(newTakeover())
	tus, err := handler.NewUnroutedHandler(handler.Config{
		StoreComposer: composer,
		BasePath:      uploadsPath,
		MaxSize:       maxPhotoBytes,
		// The spool has nothing to finish after a request. At the default, each request would leave two goroutines for 10 s.
		GracefulRequestCompletionTimeout: time.Millisecond,
		// The server's own CORS stands before every route.
		Cors: &handler.CorsConfig{Disable: true},
		// tusd reports each cut connection as an error. What concerns the server, the spool logs.
		Logger: tusslog.New(tusslog.NewTextHandler(io.Discard, &tusslog.HandlerOptions{Level: tusslog.Level(math.MaxInt)})),
	})
	if err != nil {
		return nil, fmt.Errorf("setting tus up: %w", err)
	}
	return tus.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			tus.HeadFile(w, r)
			return
		}
		tus.PatchFile(w, r)
	})), nil
}

// serveUpload is tus 1.0 (https://tus.io/protocols/resumable-upload), the core protocol: HEAD and PATCH for the device that
// has declared the upload, OPTIONS for everybody. To all others an upload does not exist. A POST that carries the method in
// X-HTTP-Method-Override is taken for that one, as the protocol wants: Java without PATCH sends it. Any other POST is for
// clients that cannot begin without the creation extension (serveCreation).
func (s *Service) serveUpload(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Tus-Resumable", tusVersion)
	w.Header().Set("Tus-Version", tusVersion)
	if method := r.Header.Get("X-Http-Method-Override"); r.Method == http.MethodPost && method != "" {
		r.Method, w = method, overridden{w}
	}
	switch r.Method {
	case http.MethodHead, http.MethodPatch, http.MethodPost:
	case http.MethodOptions:
		w.Header().Set("Tus-Max-Size", strconv.Itoa(maxPhotoBytes))
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "HEAD, PATCH, POST, OPTIONS")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	upload, err := s.ownUpload(r.Context(), strings.TrimPrefix(r.URL.Path, uploadsPath))
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	if r.Method == http.MethodPost {
		s.serveCreation(w, r, upload)
		return
	}
	transfer := newTransfer(w, r, upload)
	r = r.WithContext(context.WithValue(r.Context(), transferKey{}, transfer))
	r.Body = transfer
	// tusd takes the whole path for the id.
	r.URL = &url.URL{Path: "/" + upload.GetId()}
	s.tus.ServeHTTP(w, r)
	if transfer.finish() {
		// The deadline that ended the body may reach into whatever comes next on this connection. Nobody waits for the answer.
		panic(http.ErrAbortHandler)
	}
}

// overridden answers a request whose method stands in X-HTTP-Method-Override. On the wire it is a POST: the length that a HEAD tells
// would be taken for that of a body, which does not come.
type overridden struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w overridden) WriteHeader(status int) {
	if status < http.StatusMultipleChoices {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w overridden) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serveCreation answers the POST of a client that cannot be given an upload's URL, such as TUSKit, sent to the path that Declare
// gave: it creates nothing, and names the same URL, absolute, since not every client resolves another. Bytes that are here stay.
//
// Errors: PreconditionFailed (412) for another version of tus, Invalid "upload_length_differs".
func (s *Service) serveCreation(w http.ResponseWriter, r *http.Request, upload *storagev1.Upload) {
	if r.Header.Get("Tus-Resumable") != tusVersion {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	if r.Header.Get("Upload-Length") != strconv.FormatInt(sizeOf(upload), 10) {
		faultwire.WriteHTTP(w, r, s.log, fault.New(fault.Invalid, "upload_length_differs",
			fmt.Sprintf("Kích thước tệp khác với đã khai báo (%d byte).", sizeOf(upload)),
			fmt.Sprintf("The file has another size than declared (%d bytes).", sizeOf(upload))))
		return
	}
	at := url.URL{Scheme: "http", Host: r.Host, Path: uploadsPath + upload.GetId()}
	// Whoever composes the server says in URL.Scheme what a proxy that it trusts has told.
	if r.TLS != nil || r.URL.Scheme == "https" {
		at.Scheme = "https"
	}
	w.Header().Set("Location", at.String())
	w.WriteHeader(http.StatusCreated)
}
