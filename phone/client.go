package phone

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	bolt "go.etcd.io/bbolt"
)

// Server is the address that this device was enrolled at. Unauthenticated "not_enrolled".
func (p *Phone) Server() (string, error) {
	var server string
	err := p.view(func(_ *bolt.Tx, st *state) error {
		if server = st.Server; server == "" {
			return errNotEnrolled()
		}
		return nil
	})
	return server, err
}

// Token returns an access token that is good for at least another minute or so, renewed where needed.
func (p *Phone) Token(ctx context.Context) (string, error) {
	_, token, err := p.clientToken(ctx, "")
	return token, err
}

// Client is an HTTP client that calls as this device: for the RPCs that a dispatcher, the hotline or an admin needs and a
// crew's phone has no method for. It adds the access token and renews it ahead of its end, and once more where the server does
// not take it: the phone's clock may have jumped. Requests to any other server than the one enrolled at go without a token,
// wherever a redirect or a mistake sends them.
func (p *Phone) Client() *http.Client {
	return &http.Client{Transport: bearerTransport{p}}
}

type bearerTransport struct{ phone *Phone }

// RoundTrip implements http.RoundTripper.
func (t bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	server, token, err := t.phone.clientToken(r.Context(), "")
	if err != nil {
		return nil, fmt.Errorf("getting an access token: %w", err)
	}
	home, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	next := t.phone.http.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	if r.URL.Scheme != home.Scheme || r.URL.Host != home.Host {
		return next.RoundTrip(r)
	}
	answer, err := next.RoundTrip(bearing(r, token))
	if err != nil || answer.StatusCode != http.StatusUnauthorized || r.Body != nil && r.GetBody == nil {
		return answer, err
	}
	_ = answer.Body.Close()
	if _, token, err = t.phone.clientToken(r.Context(), token); err != nil {
		return nil, fmt.Errorf("getting an access token: %w", err)
	}
	again := bearing(r, token)
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	return next.RoundTrip(again)
}

// clientToken is token for whoever calls as this device: one that is revoked only delivers, by Sync and Upload.
func (p *Phone) clientToken(ctx context.Context, refused string) (server, token string, err error) {
	if err := p.view(func(_ *bolt.Tx, st *state) error {
		if st.Revoked {
			return errRevoked()
		}
		return nil
	}); err != nil {
		return "", "", err
	}
	return p.token(ctx, refused)
}

func bearing(r *http.Request, token string) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}
