package server

import (
	"context"
	"io"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
)

// health says whether the server lives (the store knows what is durable; else a restart helps) and whether it is ready (no check
// has found damage; else a person must look). What is not ready serves all the same.
type health struct {
	failed  <-chan struct{}
	unready func() []string
}

// reasons says why it is not ready. They name no record and no person: nobody needs a token to ask.
func (h health) reasons() []string {
	select {
	case <-h.failed:
		return []string{"the store has stopped"}
	default:
		return h.unready()
	}
}

// Check implements grpchealth.Checker, as readiness.
func (h health) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	known := req.Service == "" || strings.HasPrefix(req.Service, "grpc.")
	for _, name := range services {
		known = known || req.Service == name
	}
	if !known {
		return nil, connect.NewError(connect.CodeNotFound, nil)
	}
	if len(h.reasons()) > 0 {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

func (h health) live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-h.failed:
			tellState(w, []string{"the store has stopped"})
		default:
			tellState(w, nil)
		}
	})
}

func (h health) ready() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tellState(w, h.reasons()) })
}

func tellState(w http.ResponseWriter, reasons []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Join(reasons, "\n")+"\n") // Whoever asks no more has gone.
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}
