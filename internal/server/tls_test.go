package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a fresh certificate for localhost and its key.
func certificate(t *testing.T, serial int64, certFile, keyFile string) (roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, text := range map[string][]byte{certFile: certText, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certText)
	return roots
}

// Protects: the server ends TLS from files, speaks HTTP/1.1 and HTTP/2, nothing below TLS 1.2, and tells browsers to stay with it; a
// renewed certificate is in use at the next handshake, and a broken one never.
func TestTLSFromFiles(t *testing.T) {
	config := testConfig(t)
	dir := t.TempDir()
	config.TLS.CertFile, config.TLS.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := certificate(t, 1, config.TLS.CertFile, config.TLS.KeyFile)
	r := start(t, config)
	if !strings.HasPrefix(r.url, "https://") {
		t.Errorf("it is at %s", r.url)
	}
	get := func(http2 bool, roots *x509.CertPool, most uint16) (*http.Response, error) {
		transport := &http.Transport{
			Protocols: new(http.Protocols), DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MaxVersion: most, MinVersion: tls.VersionTLS10},
		}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetHTTP2(http2)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/.well-known/jwks.json", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	for _, http2 := range []bool{false, true} {
		resp, err := get(http2, roots, 0)
		if err != nil || resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != http2 || !strings.Contains(resp.Header.Get("Strict-Transport-Security"), "max-age=") {
			t.Errorf("HTTP/2 %v: %v %v", http2, resp, err)
		}
	}
	if _, err := get(false, roots, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if got := do(t, client(t, false, ""), http.MethodGet, "http"+strings.TrimPrefix(r.url, "https"), "", nil); got.status != http.StatusBadRequest {
		t.Errorf("without TLS: %d", got.status)
	}

	// A new key whose certificate has not come yet: the two do not fit.
	renewed := certificate(t, 2, filepath.Join(dir, "next.pem"), config.TLS.KeyFile)
	if _, err := get(false, roots, 0); err != nil {
		t.Errorf("while the files do not fit: %v", err)
	}
	if len(r.log.with("certificate's files cannot be used")) != 1 {
		t.Error("nobody is told that they do not fit")
	}
	if err := os.Rename(filepath.Join(dir, "next.pem"), config.TLS.CertFile); err != nil {
		t.Fatal(err)
	}
	if _, err := get(false, renewed, 0); err != nil {
		t.Errorf("the renewed certificate: %v", err)
	}
	if _, err := get(false, roots, 0); err == nil {
		t.Error("the former certificate is still in use")
	}
	if err := os.WriteFile(config.TLS.CertFile, bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(true, renewed, 0); err != nil {
		t.Errorf("with a broken file: %v", err)
	}
}

// Protects: a server whose certificate cannot be had does not start, and says which key to look at.
func TestTLSCannotStart(t *testing.T) {
	config := testConfig(t)
	config.TLS.CertFile, config.TLS.KeyFile = "/nowhere/cert.pem", "/nowhere/key.pem"
	if s, err := Open(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "tls.cert_file") {
		t.Errorf("%v %v", s, err)
	}
	config = testConfig(t)
	config.TLS.ACME.Domains, config.TLS.ACME.DirectoryCAFile = []string{"a.example"}, write(t, "no certificate")
	if s, err := Open(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "tls.acme.directory_ca_file") {
		t.Errorf("%v %v", s, err)
	}
}
