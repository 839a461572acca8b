package hotline

import (
	"net/url"
	"testing"
)

// Protects: an address that is taken for a webhook is https, names a host, and carries neither credentials nor a fragment, whatever way
// it is written.
func FuzzWebhookURL(f *testing.F) {
	for _, seed := range []string{
		"https://a.example/hook", "http://a.example", "https://u:p@a.example", "https:///x", "https://[::1]/", "//a.example", "HTTPS://a.example", "https://a.example#x", "https://@a", "https://:443/",
	} {
		f.Add(seed)
	}
	s := &Service{}
	f.Fuzz(func(t *testing.T, address string) {
		if s.checkWebhookURL(address) != nil {
			return
		}
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			t.Errorf("%q is taken", address)
		}
	})
}
