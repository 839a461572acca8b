package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
)

// maxHeaderBytes bounds a request's headers, over HTTP/1.1 as over HTTP/2.
const maxHeaderBytes = 64 << 10

// httpServer is the server behind the port. Its limits are those of the section edge.
//
// Header and handshake have 30 s by default, not 10: on a busy machine a storm of 5,000 phones takes longer than that until each has
// been looked at, and the deadline runs from the moment at which a connection is taken. What the longer wait could cost, the door
// bounds.
func (s *Server) httpServer() *http.Server {
	edge := s.config.Edge
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: edge.HeaderTimeout,
		IdleTimeout:       edge.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig:         s.tls,
		ConnState:         newDoor(edge.Connections).changed,
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: edge.StreamsPerConnection,
			// Whoever takes nothing of what is sent goes, however many streams wait behind it.
			WriteByteTimeout: edge.WriteTimeout,
		},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(s.tls != nil)
	// gRPC without TLS, behind a proxy or on this machine.
	srv.Protocols.SetUnencryptedHTTP2(s.tls == nil && (s.onLoopback() || len(edge.TrustedProxies) > 0))
	return srv
}

func (s *Server) onLoopback() bool {
	addr, ok := addressOf(s.listener.Addr().String())
	return ok && addr.IsLoopback()
}

// serve answers on the port until the server is shut down.
func (s *Server) serve(ctx context.Context, srv *http.Server) error {
	if s.tls != nil {
		return srv.ServeTLS(s.listener, "", "")
	}
	if !s.onLoopback() && len(s.config.Edge.TrustedProxies) == 0 {
		s.log.WarnContext(ctx, "serving without TLS beyond this machine: tokens and personal data travel in the clear; "+
			"see the keys tls and edge.trusted_proxies", "listen", s.listener.Addr().String())
	}
	return srv.Serve(s.listener)
}

// URL is where the server listens.
func (s *Server) URL() string {
	if s.tls == nil {
		return "http://" + s.listener.Addr().String()
	}
	if domains := s.config.TLS.ACME.Domains; len(domains) > 0 {
		if _, port, err := net.SplitHostPort(s.listener.Addr().String()); err == nil {
			return "https://" + net.JoinHostPort(domains[0], port)
		}
	}
	return "https://" + s.listener.Addr().String()
}
