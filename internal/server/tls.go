package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// TLSConfig is the section tls: a certificate from files, or by ACME (RFC 8555), or none.
type TLSConfig struct {
	CertFile string     `yaml:"cert_file"`
	KeyFile  string     `yaml:"key_file"`
	ACME     ACMEConfig `yaml:"acme"`
}

// ACMEConfig is the section tls.acme.
type ACMEConfig struct {
	Domains         []string `yaml:"domains"`
	Email           string   `yaml:"email"`
	Directory       string   `yaml:"directory"`
	DirectoryCAFile string   `yaml:"directory_ca_file"`
}

func (c TLSConfig) check() error {
	var errs []error
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("tls.cert_file, tls.key_file: each needs the other"))
	}
	if c.CertFile != "" && len(c.ACME.Domains) > 0 {
		errs = append(errs, errors.New("tls.acme.domains: not beside tls.cert_file; the certificate comes from one place"))
	}
	for _, domain := range c.ACME.Domains {
		if !strings.Contains(domain, ".") || strings.ContainsAny(domain, "*:/ ") {
			errs = append(errs, fmt.Errorf("tls.acme.domains: %q is no full domain name such as 1022.example", domain))
		}
	}
	if u, err := url.Parse(c.ACME.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		errs = append(errs, fmt.Errorf("tls.acme.directory: %q does not begin with https://", c.ACME.Directory))
	}
	return errors.Join(errs...)
}

// open returns what the listener needs, and nil where the server does not end TLS. TLS 1.2 is the least; what is offered beyond
// that is Go's choice, which follows what is known.
func (c TLSConfig) open(data string, log *slog.Logger) (*tls.Config, error) {
	switch {
	case c.CertFile != "":
		files := &certificateFiles{cert: c.CertFile, key: c.KeyFile, log: log}
		if _, err := files.get(nil); err != nil {
			return nil, fmt.Errorf("reading tls.cert_file and tls.key_file: %w", err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}, nil
	case len(c.ACME.Domains) > 0:
		manager, err := c.ACME.manager(filepath.Join(data, "acme"))
		if err != nil {
			return nil, err
		}
		config := manager.TLSConfig() // With the challenge tls-alpn-01: it needs no other port.
		config.MinVersion = tls.VersionTLS12
		config.GetCertificate = (&acmeFailures{domains: c.ACME.Domains, log: log}).told(config.GetCertificate)
		return config, nil
	}
	return nil, nil //nolint:nilnil // No TLS is no error.
}

// manager asks for certificates when they are first wanted, keeps them in the folder, and renews them 30 days before their end, or when
// a third of their life is left where that is less.
func (c ACMEConfig) manager(folder string) (*autocert.Manager, error) {
	client := &acme.Client{DirectoryURL: c.Directory, UserAgent: "fieldsync"}
	if c.DirectoryCAFile != "" {
		pem, err := os.ReadFile(c.DirectoryCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading tls.acme.directory_ca_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.acme.directory_ca_file: no certificate stands in %s", c.DirectoryCAFile)
		}
		client.HTTPClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		}}
	}
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(folder), HostPolicy: autocert.HostWhitelist(c.Domains...),
		Email: c.Email, Client: client,
	}, nil
}

// acmeFailures tells the log why there is no certificate for one of our names, which else only clients would see, as a handshake that
// fails. The authority is asked at most once a minute, and what the same failure says to each client in between is told once.
type acmeFailures struct {
	domains []string
	log     *slog.Logger

	mu   sync.Mutex
	last string
}

func (f *acmeFailures) told(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		certificate, err := get(hello)
		name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
		if err != nil && slices.Contains(f.domains, name) && f.isNew(err) {
			f.log.Error("no certificate could be had from the authority: clients cannot connect", "domain", name, "error", err)
		}
		return certificate, err
	}
}

func (f *acmeFailures) isNew(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	former := f.last
	f.last = err.Error()
	return f.last != former
}

// certificateFiles is a certificate and its key, read again whenever one of the files has changed: renewed by another program, they
// are in use at the next handshake. While the two do not fit together, as between the writes of one and the other, or cannot be
// read, the former pair serves on.
type certificateFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	seen    [2]fileState
	current *tls.Certificate
}

type fileState struct {
	modified time.Time
	size     int64
}

// get implements tls.Config.GetCertificate. Two stats cost little beside the handshake's signature.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.look()
	if err == nil && (f.current == nil || now != f.seen) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			if f.current != nil {
				f.log.Info("certificate read again", "file", f.cert, "until", pair.Leaf.NotAfter)
			}
			f.current, f.seen = &pair, now
		}
	}
	switch {
	case err == nil:
	case f.current == nil:
		return nil, err
	case now != f.seen: // Told once for each change.
		f.seen = now
		f.log.Error("the certificate's files cannot be used; the former certificate serves on", "file", f.cert, "error", err)
	}
	return f.current, nil
}

func (f *certificateFiles) look() (seen [2]fileState, err error) {
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return [2]fileState{}, err
		}
		if info.Mode().IsDir() {
			return [2]fileState{}, &fs.PathError{Op: "read", Path: name, Err: errors.New("it is a folder")}
		}
		seen[i] = fileState{info.ModTime(), info.Size()}
	}
	return seen, nil
}
