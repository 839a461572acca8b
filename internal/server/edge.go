package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// EdgeConfig is the section edge: what the port takes from whom. A limit of 0 is none.
type EdgeConfig struct {
	TrustedProxies       []string      `yaml:"trusted_proxies"`
	Connections          int           `yaml:"connections"`
	StreamsPerConnection int           `yaml:"streams_per_connection"`
	HeaderTimeout        time.Duration `yaml:"header_timeout"`
	IdleTimeout          time.Duration `yaml:"idle_timeout"`
	BodyTimeout          time.Duration `yaml:"body_timeout"`
	WriteTimeout         time.Duration `yaml:"write_timeout"`
	DevicePerSecond      float64       `yaml:"device_per_second"`
	DeviceBurst          int           `yaml:"device_burst"`
	DeviceCalls          int           `yaml:"device_calls"`
	AddressPerSecond     float64       `yaml:"address_per_second"`
	AddressBurst         int           `yaml:"address_burst"`
	AddressCalls         int           `yaml:"address_calls"`
	AnonymousCalls       int           `yaml:"anonymous_calls"`
	FailuresPerSecond    float64       `yaml:"failures_per_second"`
	FailureBurst         int           `yaml:"failure_burst"`
	Uploads              int           `yaml:"uploads"`
	DeviceUploads        int           `yaml:"device_uploads"`
}

func (c EdgeConfig) check() error {
	var errs []error
	for key, value := range map[string]time.Duration{
		"header_timeout": c.HeaderTimeout, "idle_timeout": c.IdleTimeout, "body_timeout": c.BodyTimeout, "write_timeout": c.WriteTimeout,
	} {
		if value < time.Second || value > time.Hour {
			errs = append(errs, fmt.Errorf("edge.%s: %v is not between 1s and 1h", key, value))
		}
	}
	for key, value := range map[string]int{
		"connections": c.Connections, "device_burst": c.DeviceBurst, "device_calls": c.DeviceCalls, "address_burst": c.AddressBurst,
		"address_calls": c.AddressCalls, "anonymous_calls": c.AnonymousCalls, "failure_burst": c.FailureBurst, "uploads": c.Uploads, "device_uploads": c.DeviceUploads,
	} {
		if value < 0 || value > 10_000_000 {
			errs = append(errs, fmt.Errorf("edge.%s: %d is not between 0 and 10000000", key, value))
		}
	}
	if c.StreamsPerConnection < 1 || c.StreamsPerConnection > 10_000 {
		errs = append(errs, fmt.Errorf("edge.streams_per_connection: %d is not between 1 and 10000", c.StreamsPerConnection))
	}
	for key, bucket := range map[string]struct {
		perSecond float64
		burst     int
	}{
		"device_per_second": {c.DevicePerSecond, c.DeviceBurst}, "address_per_second": {c.AddressPerSecond, c.AddressBurst},
		"failures_per_second": {c.FailuresPerSecond, c.FailureBurst},
	} {
		if !(bucket.perSecond >= 0) || bucket.perSecond > 1e9 {
			errs = append(errs, fmt.Errorf("edge.%s: %v is not between 0 and 1000000000", key, bucket.perSecond))
		}
		if bucket.perSecond > 0 && bucket.burst < 1 {
			errs = append(errs, fmt.Errorf("edge.%s: with a burst of %d nothing would ever pass", key, bucket.burst))
		}
	}
	_, err := c.proxies()
	return errors.Join(append(errs, err)...)
}

// proxies are the networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
func (c EdgeConfig) proxies() (proxies, error) {
	var known proxies
	for _, text := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return nil, fmt.Errorf("edge.trusted_proxies: %q is neither an address nor a network such as 10.1.0.0/16", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		known = append(known, prefix.Masked())
	}
	return known, nil
}

type proxies []netip.Prefix

func (p proxies) contain(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// believed puts into RemoteAddr who really calls, and into URL.Scheme whether TLS protects the call, so that everything within
// (limits, logs, the rooms) reads one place. A peer that is no trusted proxy is who it is, whatever its headers say. Of
// X-Forwarded-For the last address counts that is not itself a proxy's: what stands before it, the client may have written.
//
// HTTP/2 without TLS is for proxies and loopback alone: from anywhere else it is refused.
func (p proxies) believed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, known := addressOf(r.RemoteAddr)
		trusted := known && p.contain(peer)
		if r.ProtoMajor == 2 && r.TLS == nil && known && !trusted && !peer.IsLoopback() {
			http.Error(w, "HTTP/2 without TLS is taken from the server's proxy only: use https, or HTTP/1.1.", http.StatusHTTPVersionNotSupported)
			return
		}
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if trusted {
			if last := lastOf(r.Header.Values("X-Forwarded-Proto")); last == "https" || last == "http" {
				scheme = last
			}
			if client, ok := p.clientOf(r.Header.Values("X-Forwarded-For")); ok {
				r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			}
		}
		r.URL.Scheme = scheme
		next.ServeHTTP(w, r)
	})
}

func (p proxies) clientOf(headers []string) (netip.Addr, bool) {
	hops := strings.Split(strings.Join(headers, ","), ",")
	for i, hop := range slices.Backward(hops) {
		addr, ok := addressOf(strings.TrimSpace(hop))
		if !ok {
			return netip.Addr{}, false // A hop that is not told hides all before it.
		}
		if !p.contain(addr) || i == 0 {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// lastOf is the last entry of a header that every hop adds to.
func lastOf(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	all := headers[len(headers)-1]
	return strings.ToLower(strings.TrimSpace(all[strings.LastIndexByte(all, ',')+1:]))
}

// addressOf reads an address with or without a port.
func addressOf(text string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}
