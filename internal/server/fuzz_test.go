package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Protects: whatever stands in X-Forwarded-For and X-Forwarded-Proto, a caller that is no trusted proxy is who it is, and one that is
// counts as a valid address, never as nobody, who would be without limits.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"203.0.113.1", "203.0.113.1, 10.1.2.3", "[2001:db8::1]:443", "fe80::1%eth0", ",", "unknown", "10.1.0.1,10.1.0.2", "::ffff:10.1.2.3"} {
		f.Add(seed, "https")
	}
	known := proxies{netip.MustParsePrefix("10.1.0.0/16")}
	f.Fuzz(func(t *testing.T, forwarded, proto string) {
		for peer, trusted := range map[string]bool{"10.1.9.9:1": true, "192.0.2.1:1": false} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			r.RemoteAddr, r.Header = peer, http.Header{"X-Forwarded-For": {forwarded}, "X-Forwarded-Proto": {proto}}
			known.believed(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if _, ok := addressOf(r.RemoteAddr); !ok || !trusted && r.RemoteAddr != peer {
					t.Errorf("from %s with %q: %q", peer, forwarded, r.RemoteAddr)
				}
				if r.URL.Scheme != "http" && (r.URL.Scheme != "https" || !trusted) {
					t.Errorf("from %s with %q: %q", peer, proto, r.URL.Scheme)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		}
	})
}

// Protects: no file and no variable crashes the reading of the configuration, and what is taken can be shown, without the secret.
func FuzzConfig(f *testing.F) {
	f.Add("edge: {trusted_proxies: [10.1.0.0/16]}", "LISTEN", "127.0.0.1:1")
	f.Add("backup: {repository: 's3://a/b', recipients: [age1x]}", "EDGE_DEVICE_BURST", "5")
	f.Add("a: &a [*a]", "REVIEW_CATEGORIES", "{a: {before: 1}}")
	f.Add("media: {s3: {secret_key: khong-ai-biet-duoc}}", "OIDC_ROLES", "{a: dispatcher}")
	file := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		if strings.Contains(text, "_file") || strings.HasSuffix(key, "_FILE") {
			t.Skip("it would read whatever file is named")
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		lookup := func(name string) (string, bool) { return value, name == envPrefix+"_"+key }
		config, err := LoadConfig(file, lookup)
		if err != nil {
			return
		}
		var shown strings.Builder
		if err := config.Show(&shown, Sources{File: file, Lookup: lookup}); err != nil {
			t.Fatal(err)
		}
		if secret := config.Media.S3.SecretKey; len(secret) > 12 && strings.Contains(shown.String(), secret) {
			t.Errorf("the secret is shown:\n%s", shown.String())
		}
	})
}
