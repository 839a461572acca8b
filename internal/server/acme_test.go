package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cong1022/fieldsync/internal/toolserver"
)

const acmeDomain = "1022.example"

// authority is Pebble, the small ACME server that Let's Encrypt makes for tests: built from module source, it knows no shortcuts, and it
// refuses a twentieth of all nonces to see whether clients can live with that.
type authority struct {
	directory, caFile, roots string // Where it is, what signs its own TLS, and where the root of what it issues can be had.
}

// newAuthority starts one that finds every name at 127.0.0.1 and the challenge tls-alpn-01 at the port. Its certificates live so long.
func newAuthority(t *testing.T, port int, life time.Duration) authority {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	trusted := certificate(t, 1, certFile, keyFile)
	management := freePort(t)
	server := toolserver.Start(t, toolserver.Tool{
		Name: "pebble", Package: "github.com/letsencrypt/pebble/v2/cmd/pebble", Module: "github.com/letsencrypt/pebble/v2", BuildTime: "half a minute",
		HealthPath: "/dir", TLS: &tls.Config{RootCAs: trusted, ServerName: "localhost", MinVersion: tls.VersionTLS12},
		Command: func(address, home string, _ toolserver.Server) (args, env []string, err error) {
			text, err := json.Marshal(map[string]any{"pebble": map[string]any{
				"listenAddress": address, "managementListenAddress": management.String(), "certificate": certFile, "privateKey": keyFile,
				"httpPort": 1, "tlsPort": port, "keyAlgorithm": "ecdsa", "retryAfter": map[string]int{"authz": 1, "order": 1},
				"profiles": map[string]any{"default": map[string]any{"description": "for tests", "validityPeriod": int(life.Seconds())}},
			}})
			if err != nil {
				return nil, nil, err
			}
			file := filepath.Join(home, "pebble.json")
			return []string{"-config", file, "-dnsserver", nameServer(t)}, []string{"PEBBLE_VA_NOSLEEP=1"}, os.WriteFile(file, text, 0o600)
		},
	})
	_, serverPort, _ := net.SplitHostPort(server.Endpoint)
	_, managementPort, _ := net.SplitHostPort(management.String())
	return authority{
		directory: "https://localhost:" + serverPort + "/dir", caFile: certFile,
		roots: "https://localhost:" + managementPort + "/roots/0",
	}
}

// issued returns the root of what the authority issues.
func (a authority) issued(t *testing.T) *x509.CertPool {
	t.Helper()
	own, issued := x509.NewCertPool(), x509.NewCertPool()
	pem, err := os.ReadFile(a.caFile)
	if err != nil || !own.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.roots, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{TLSClientConfig: &tls.Config{RootCAs: own, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if pem, err = io.ReadAll(resp.Body); err != nil || !issued.AppendCertsFromPEM(pem) {
		t.Fatalf("%v %s", err, pem)
	}
	return issued
}

// nameServer answers every question for an address with 127.0.0.1, and has nothing for IPv6. It speaks DNS over TCP (RFC 7766), which is
// how Pebble asks.
func nameServer(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var err error
				for err == nil {
					err = answerName(conn)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// answerName answers one question.
func answerName(conn io.ReadWriter) error {
	var size uint16
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return err
	}
	packet := make([]byte, size)
	if _, err := io.ReadFull(conn, packet); err != nil {
		return err
	}
	var message dnsmessage.Message
	if err := message.Unpack(packet); err != nil {
		return err
	}
	message.Header, message.Additionals = dnsmessage.Header{ID: message.ID, Response: true, RecursionAvailable: true}, nil
	for _, question := range message.Questions {
		if question.Type == dnsmessage.TypeA {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			})
		}
	}
	answer, err := message.AppendPack(make([]byte, 2))
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint16(answer, uint16(len(answer)-2))
	_, err = conn.Write(answer)
	return err
}

// freePort is a port that nothing uses now.
func freePort(t *testing.T) *net.TCPAddr {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address, _ := listener.Addr().(*net.TCPAddr) // Always one.
	return address
}

// handshake is what a client sees of the port under a name.
func handshake(t *testing.T, address, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	secured, _ := conn.(*tls.Conn) // Always one.
	return secured.ConnectionState().PeerCertificates[0], nil
}

// acmeConfig is a server on a port of its own that asks the authority for acmeDomain.
func acmeConfig(t *testing.T, life time.Duration) (Config, authority) {
	t.Helper()
	port := freePort(t)
	ca := newAuthority(t, port.Port, life)
	config := testConfig(t)
	config.Listen = port.String()
	config.TLS.ACME.Domains, config.TLS.ACME.Directory, config.TLS.ACME.DirectoryCAFile = []string{acmeDomain}, ca.directory, ca.caFile
	return config, ca
}

// Protects: with nothing but names and the authority's address configured, the port gets its own certificate by ACME over itself
// (tls-alpn-01) and speaks both HTTPs with it; it asks for no name that is not configured, keeps all in files that are nobody else's, and
// starts the next time without an authority.
func TestACME(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: builds an ACME server on a new machine")
	}
	config, ca := acmeConfig(t, 24*time.Hour)
	r := start(t, config)
	if want := "https://" + acmeDomain; !strings.HasPrefix(r.url, want) {
		t.Errorf("it is at %s, want %s", r.url, want)
	}
	roots := ca.issued(t)
	first, err := handshake(t, config.Listen, acmeDomain, roots)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.log.with(""))
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{
			Protocols: new(http.Protocols), DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: acmeDomain, MinVersion: tls.VersionTLS12},
		}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetHTTP2(http2)
		got := do(t, &http.Client{Transport: transport}, http.MethodGet, "https://"+config.Listen+"/.well-known/jwks.json", "", nil)
		if got.status != http.StatusOK || got.header.Get("Strict-Transport-Security") == "" {
			t.Errorf("HTTP/2 %v: %d %v", http2, got.status, got.header)
		}
	}
	for _, name := range []string{"other.example", "", "sub." + acmeDomain} {
		if got, err := handshake(t, config.Listen, name, roots); err == nil {
			t.Errorf("%q has a certificate: %v", name, got.DNSNames)
		}
	}
	if told := r.log.with("no certificate could be had"); len(told) > 0 {
		t.Errorf("names that are not ours are told: %s", told)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(config.Data, "acme"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	config.TLS.ACME.Directory = "https://" + freePort(t).String() + "/dir"
	start(t, config)
	if again, err := handshake(t, config.Listen, acmeDomain, roots); err != nil || again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("after a restart without the authority: %v", err)
	}
}

// Protects: a certificate that nears its end is renewed while the port serves, however short its life.
func TestACMERenewal(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: builds an ACME server on a new machine, and waits for most of a certificate's life of 6 s")
	}
	config, ca := acmeConfig(t, 6*time.Second)
	start(t, config)
	roots := ca.issued(t)
	var first *x509.Certificate
	var last error
	for range 1200 { // A minute: so long nothing but an error lasts.
		got, err := handshake(t, config.Listen, acmeDomain, roots) // Where the machine is slow, the first may have ended by now.
		switch {
		case err != nil:
			last = err
		case first == nil:
			first = got
		case got.SerialNumber.Cmp(first.SerialNumber) != 0:
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("not renewed; the last error: %v", last)
}

// Protects: while the authority cannot be reached, the server starts and stays, and its log tells once for all clients why none of
// them gets in.
func TestACMEAuthorityDown(t *testing.T) {
	config := testConfig(t)
	config.TLS.ACME.Domains, config.TLS.ACME.Directory = []string{acmeDomain}, "https://"+freePort(t).String()+"/dir"
	r := start(t, config)
	address := r.listener.Addr().String()
	for range 3 {
		if _, err := handshake(t, address, acmeDomain, nil); err == nil {
			t.Fatal("a handshake without a certificate")
		}
	}
	told := r.log.with("no certificate could be had")
	if len(told) == 0 || !strings.Contains(told[0], acmeDomain) || !strings.Contains(told[0], "connection refused") || !strings.Contains(told[0], `"level":"ERROR"`) {
		t.Errorf("told: %s", told)
	}
	if len(told) > 2 { // The failure, and for the rest of the minute what autocert says then.
		t.Errorf("told once for each client: %s", told)
	}
}
