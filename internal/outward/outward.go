// Package outward connects to addresses that others have chosen: of webhooks, and of browsers' push services. Whoever registers an
// address must not reach through the server what only the server's own network reaches.
package outward

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	// timeout bounds a request, from the name's resolution to the end of the answer: 15 seconds, as Standard Webhooks advises.
	timeout         = 15 * time.Second
	maxHeaderAnswer = 32 << 10
)

// ErrForbidden is the error of an address that is none of the public Internet's.
var ErrForbidden = errors.New("the address is not public")

// special are the networks that must not be reached, though Go does not count them as private or local: the rest of
// https://www.iana.org/assignments/iana-ipv4-special-registry and of its sister for IPv6, and what carries an IPv4 address.
var special = func() (prefixes []netip.Prefix) {
	for _, text := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	return prefixes
}()

// Public tells whether an address is one of the public Internet, or in a network that the operator allows.
func Public(address netip.Addr, allowed []netip.Prefix) bool {
	address = address.Unmap().WithZone("")
	within := func(p netip.Prefix) bool { return p.Contains(address) }
	if slices.ContainsFunc(allowed, within) {
		return true
	}
	return address.IsGlobalUnicast() && !address.IsPrivate() && !slices.ContainsFunc(special, within)
}

// NewClient makes a client that connects only to public addresses. It looks at the address that is being connected to, after the
// name's resolution: a name that resolves otherwise the second time gains nothing. No redirects, no proxy, no cookies.
func NewClient(allowed []netip.Prefix) *http.Client {
	dialer := &net.Dialer{
		Timeout: timeout,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrForbidden, err)
			}
			if !Public(to.Addr(), allowed) {
				return ErrForbidden
			}
			return nil
		},
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    timeout,
			ResponseHeaderTimeout:  timeout,
			MaxResponseHeaderBytes: maxHeaderAnswer,
			MaxConnsPerHost:        4,
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
		},
	}
}
