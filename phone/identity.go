package phone

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/golang-jwt/jwt/v5"
	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

const (
	// callTimeout bounds one call, so that a dead connection does not hold a phone for long. Generous, for slow networks.
	callTimeout = 2 * time.Minute
	// refreshAhead is how long before its end a token is replaced.
	refreshAhead = time.Minute
	// maxAnswer bounds what the phone reads of one answer: the largest budget of a delta, and one huge task on top.
	maxAnswer = 16 << 20
)

// Enrol makes this phone a device of the member for whom the one-time code was issued. The device's key is made and stored
// before the first call: when an answer is lost, Enrol again with a fresh code, and the server knows the device by its key.
// server is the URL under which the server is reached; name is what people call the device, at most 100 characters.
//
// A phone may be enrolled again. With another server or for another member it loses its replica, and it must have nothing
// left to send: Precondition "outbox_not_empty" otherwise, for what one member recorded is never sent as another's. Other
// errors: Unauthenticated "code_invalid" and the like, as the API has them; Unavailable "server_unreachable".
func (p *Phone) Enrol(ctx context.Context, server, code, name string) error {
	server, err := p.checkServer(server)
	if err != nil {
		return err
	}
	// Nobody may use the identity while it changes.
	for _, place := range []chan struct{}{p.syncing, p.refreshing} {
		release, err := hold(ctx, place)
		if err != nil {
			return err
		}
		defer release()
	}
	answer, err := p.redeem(ctx, server, code, name)
	if fault.CodeOf(err) == "device_revoked" {
		// Revoked before the phone has heard that it is enrolled: the answer was lost. The code is still good, for another key.
		if dropped, failed := p.dropUnheardKey(); !dropped {
			return errors.Join(err, failed)
		}
		answer, err = p.redeem(ctx, server, code, name)
	}
	if err != nil {
		return err
	}
	return p.enrolled(server, answer)
}

// redeem offers the device's key with the code.
func (p *Phone) redeem(ctx context.Context, server, code, name string) (answer *fieldsyncv1.EnrolResponse, err error) {
	key, err := p.ensureKey(server)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	issuer, err := thumbprint(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	client := fieldsyncv1connect.NewIdentityServiceClient(p.http, server, clientOptions()...)
	err = p.proven(ctx, key, issuer, "fieldsync:enrol", func(ctx context.Context, proof string) error {
		answer, err = client.Enrol(ctx, &fieldsyncv1.EnrolRequest{
			Code: strings.TrimSpace(code), PublicKey: spki, Proof: proof, DeviceName: name,
		})
		return err
	})
	return answer, err
}

// dropUnheardKey lets go of a key under which the phone was never enrolled as far as it knows, and so has recorded nothing. One of an
// enrolment is let go of when what it still has to send is sent.
func (p *Phone) dropUnheardKey() (dropped bool, err error) {
	err = p.update(func(_ *bolt.Tx, st *state) error {
		if dropped = st.DeviceID == ""; dropped {
			st.Key = nil
		}
		return nil
	})
	return dropped && err == nil, err
}

func (p *Phone) checkServer(server string) (string, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(server), "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.User != nil {
		return "", fault.New(fault.Invalid, "server_invalid",
			"Địa chỉ máy chủ phải có dạng https://máy-chủ[:cổng].", "A server's address is of the form https://host[:port].")
	}
	return u.String(), nil
}

// ensureKey returns the device's key, making it where there is none yet. It also refuses early, before a code is used up,
// what enrolled would refuse late.
func (p *Phone) ensureKey(server string) (key *ecdsa.PrivateKey, err error) {
	err = p.update(func(tx *bolt.Tx, st *state) error {
		if st.DeviceID != "" && st.Server != server {
			if err := nothingToSend(tx); err != nil {
				return err
			}
		}
		if st.Revoked {
			// The key is void for good; only what it still has to send was its own.
			if err := nothingToSend(tx); err != nil {
				return err
			}
			st.Key = nil
		}
		if st.Key == nil {
			fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return err
			}
			if st.Key, err = x509.MarshalPKCS8PrivateKey(fresh); err != nil {
				return err
			}
		}
		key, err = parseKey(st.Key)
		return err
	})
	return key, err
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading the device's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the device's key is no ECDSA key")
	}
	return key, nil
}

func nothingToSend(tx *bolt.Tx) error {
	k, _ := tx.Bucket(bucketOutbox).Cursor().First()
	waiting := k != nil
	for ph, err := range photos(tx) {
		if err != nil {
			return err
		}
		waiting = waiting || ph.State == photoQueued || ph.State == photoAttached
	}
	if !waiting {
		return nil
	}
	return fault.New(fault.Precondition, "outbox_not_empty",
		"Máy còn việc hoặc ảnh chưa gửi của đăng ký trước: hãy đồng bộ xong rồi mới đăng ký lại.",
		"Work or photos of the former enrolment are still unsent: sync before enrolling anew.")
}

// enrolled stores the answer of an enrolment. A crash before it looks like a lost answer.
func (p *Phone) enrolled(server string, answer *fieldsyncv1.EnrolResponse) error {
	member := answer.GetMember()
	return p.update(func(tx *bolt.Tx, st *state) error {
		if st.DeviceID != "" && (st.Server != server || st.MemberID != member.GetId()) {
			if err := nothingToSend(tx); err != nil {
				return err
			}
			if err := errors.Join(empty(tx, bucketReplica), empty(tx, bucketKept)); err != nil {
				return err
			}
			st.forget()
			st.Reach = nil
		}
		st.Revoked = false
		sameDevice := st.Server == server && st.DeviceID == answer.GetDeviceId()
		st.Server, st.DeviceID = server, answer.GetDeviceId()
		st.MemberID, st.MemberName, st.CrewID = member.GetId(), member.GetName(), member.GetCrewId()
		st.Token, st.TokenExpires = answer.GetAccessToken(), answer.GetExpiresAt().AsTime()
		p.log.Info("enrolled", "device_id", st.DeviceID, "install_epoch", answer.GetInstallEpoch())
		// What was recorded under an older epoch of this device is sent under it, for it may have arrived already. A server
		// that knows the device no more, or has fallen back to an epoch that was used, has judged none of it.
		if sameDevice && answer.GetInstallEpoch() > st.InstallEpoch {
			st.InstallEpoch, st.LastNumber = answer.GetInstallEpoch(), 0
			return nil
		}
		if _, err := p.offerAgain(tx); err != nil { // It has judged none of that either.
			return err
		}
		return renumber(tx, st, answer.GetInstallEpoch())
	})
}

// renumber begins an install epoch and moves the whole outbox into it, from number 1, in its order. Only for an outbox of
// which the server has judged nothing.
func renumber(tx *bolt.Tx, st *state, epoch uint32) error {
	var all []queued
	for q, err := range outbox(tx) {
		if err != nil {
			return err
		}
		all = append(all, q)
	}
	if err := empty(tx, bucketOutbox); err != nil {
		return err
	}
	st.InstallEpoch, st.LastNumber, st.Forked = epoch, 0, false
	for _, q := range all {
		st.LastNumber++
		q.epoch, q.mutation.Number = epoch, st.LastNumber
		if err := putQueued(tx, q); err != nil {
			return err
		}
	}
	return nil
}

// refresh gets a new token by proof. With newEpoch it begins a new install epoch and renumbers the outbox into it; see
// renumber for when that is right.
func (p *Phone) refresh(ctx context.Context, newEpoch bool) (token string, err error) {
	var st *state
	if err := p.view(func(_ *bolt.Tx, s *state) error { st = s; return nil }); err != nil {
		return "", err
	}
	key, err := parseKey(st.Key)
	if err != nil {
		return "", err
	}
	client := fieldsyncv1connect.NewIdentityServiceClient(p.http, st.Server, clientOptions()...)
	var answer *fieldsyncv1.RefreshResponse
	err = p.proven(ctx, key, st.DeviceID, "fieldsync:refresh", func(ctx context.Context, proof string) error {
		answer, err = client.Refresh(ctx, &fieldsyncv1.RefreshRequest{
			DeviceId: st.DeviceID, Proof: proof, NewInstallEpoch: newEpoch, DeliverOnly: st.Revoked,
		})
		return err
	})
	if fault.CodeOf(err) == "device_revoked" {
		return "", errors.Join(err, p.wipe(ctx))
	}
	if err != nil {
		return "", err
	}
	err = p.update(func(tx *bolt.Tx, s *state) error {
		s.Token, s.TokenExpires = answer.GetAccessToken(), answer.GetExpiresAt().AsTime()
		s.Revoked = s.Revoked && answer.GetDelivering() // A server that was set back may know nothing of it.
		if t := answer.GetServerTime(); t.IsValid() {
			p.hear(s, t.AsTime())
		}
		if !newEpoch {
			// Another epoch in the answer means that somebody has begun one with this key. What this phone records stays
			// under the epoch that it knows to be its own.
			return nil
		}
		p.log.WarnContext(ctx, "began a new install epoch", "was", s.InstallEpoch, "install_epoch", answer.GetInstallEpoch())
		return renumber(tx, s, answer.GetInstallEpoch())
	})
	return answer.GetAccessToken(), err
}

// proven runs a call that carries a proof. Where the server finds the phone's clock wrong, it runs once more with the
// server's time, which is remembered.
func (p *Phone) proven(ctx context.Context, key *ecdsa.PrivateKey, issuer, audience string, call func(ctx context.Context, proof string) error) error {
	var err error
	for range 2 {
		var now time.Time
		if err := p.view(func(_ *bolt.Tx, st *state) error { now = p.serverNow(st); return nil }); err != nil {
			return err
		}
		proof, serr := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
			"iss": issuer, "aud": audience, "iat": now.Unix(), "jti": rand.Text(),
		}).SignedString(key)
		if serr != nil {
			return serr
		}
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		err = callFault(ctx, call(callCtx, proof))
		cancel()
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != "proof_time" || f.ServerTime.IsZero() {
			return err
		}
		p.log.InfoContext(ctx, "the phone's clock is off", "server_time", f.ServerTime)
		if err := p.update(func(_ *bolt.Tx, st *state) error { p.hear(st, f.ServerTime); return nil }); err != nil {
			return err
		}
	}
	return err
}

// thumbprint is the JWK thumbprint of a P-256 key (RFC 7638 with the members of RFC 7518, 6.2.1).
func thumbprint(key *ecdsa.PublicKey) (string, error) {
	point, err := key.Bytes()
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding
	// point is uncompressed: 4, then x and y, 32 bytes each.
	jwk := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	sum := sha256.Sum256([]byte(jwk))
	return b64.EncodeToString(sum[:]), nil
}

// authorised runs a call with an access token that should be good. Where the server does not take it, be it that the guess
// at its expiry was wrong or that its keys have changed, it runs once more with a fresh one.
func (p *Phone) authorised(ctx context.Context, call func(ctx context.Context, server, bearer string) error) error {
	server, token, err := p.token(ctx, "")
	if err != nil {
		return err
	}
	err = call(ctx, server, "Bearer "+token)
	if fault.KindOf(err) != fault.Unauthenticated {
		return err
	}
	if server, token, err = p.token(ctx, token); err != nil {
		return err
	}
	return call(ctx, server, "Bearer "+token)
}

// token returns an access token that is not about to expire and is not the refused one.
func (p *Phone) token(ctx context.Context, refused string) (server, token string, err error) {
	// One refresh at a time: whoever waited here finds the new token.
	release, err := hold(ctx, p.refreshing)
	if err != nil {
		return "", "", err
	}
	defer release()
	var good bool
	err = p.view(func(_ *bolt.Tx, st *state) error {
		if st.DeviceID == "" {
			return errNotEnrolled()
		}
		server, token = st.Server, st.Token
		good = token != refused && p.serverNow(st).Add(refreshAhead).Before(st.TokenExpires)
		return nil
	})
	if err != nil || good {
		return server, token, err
	}
	token, err = p.refresh(ctx, false)
	return server, token, err
}

// clientOptions are those of every Connect client. Small requests are not worth compressing.
func clientOptions() []connect.ClientOption {
	return []connect.ClientOption{
		connect.WithReadMaxBytes(maxAnswer), connect.WithSendGzip(), connect.WithCompressMinBytes(1024), AcceptZstd(),
	}
}

// withBearer returns a context for one call with the token.
func withBearer(ctx context.Context, bearer string) context.Context {
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Authorization", bearer)
	return ctx
}
