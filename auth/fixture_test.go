package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

const testIssuer = "https://fieldsync.test"

// house is a Service over a real store with a clock to turn, and with people in it: two units, a crew in each.
type house struct {
	*Service

	clock *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// people are the members of a test house, named after their role and unit.
var people = []*fieldsyncv1.Member{
	{Id: "crew-a", Name: "Đội A", Role: crew, CrewId: "a1"},
	{Id: "crew-b", Name: "Đội B", Role: crew, CrewId: "b1"},
	{Id: "lead-a", Name: "Tổ trưởng A", Role: lead, CrewId: "a1"},
	{Id: "head-a", Name: "Trưởng đơn vị A", Role: head, UnitId: "a"},
	{Id: "supervisor", Name: "Giám sát", Role: supervisor},
	{Id: "dispatcher-a", Name: "Điều phối A", Role: dispatcher, UnitId: "a"},
	{Id: "dispatcher-b", Name: "Điều phối B", Role: dispatcher, UnitId: "b"},
	{Id: "dispatcher-city", Name: "Điều phối thành phố", Role: dispatcher, UnitId: CityUnit},
	{Id: "hotline", Name: "Tổng đài 1022", Role: hotline},
	{Id: "boss", Name: "Quản trị", Role: admin},
}

func openHouse(tb testing.TB) *house {
	tb.Helper()
	return settle(tb, openEmpty(tb))
}

// settle puts the people into an empty house.
func settle(tb testing.TB, h *house) *house {
	tb.Helper()
	h.update(tb, func(tx *store.Tx) error {
		for _, c := range []*fieldsyncv1.Crew{{Id: "a1", UnitId: "a", Name: "A1"}, {Id: "b1", UnitId: "b", Name: "B1"}} {
			if err := store.Put(tx, store.CrewKey(c.GetId()), c); err != nil {
				return err
			}
		}
		for _, m := range people {
			if err := store.Put(tx, store.MemberKey(m.GetId()), m); err != nil {
				return err
			}
		}
		return nil
	})
	return h
}

func openEmpty(tb testing.TB) *house {
	tb.Helper()
	return openWith(tb, rand.Reader)
}

func openWith(tb testing.TB, random io.Reader) *house {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	engine, err := embedded.Open(tb.TempDir(), log)
	if err != nil {
		tb.Fatal(err)
	}
	c := &clock{now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)}
	st, err := store.Open(tb.Context(), engine, store.Options{Clock: c.Now, Random: random})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			tb.Error(err)
		}
	})
	s, err := Open(tb.Context(), st, Options{Issuer: testIssuer, Log: log})
	if err != nil {
		tb.Fatal(err)
	}
	return &house{Service: s, clock: c}
}

func (h *house) update(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	if err := h.st.Update(tb.Context(), fn); err != nil {
		tb.Fatal(err)
	}
}

func (h *house) view(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	if err := h.st.View(tb.Context(), fn); err != nil {
		tb.Fatal(err)
	}
}

func (h *house) code(tb testing.TB, member string) string {
	tb.Helper()
	code, _, err := h.IssueCodeFor(tb.Context(), member, "")
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

// phone is a device as the API sees it.
type phone struct {
	key   *ecdsa.PrivateKey
	der   []byte
	thumb string
	id    string
	token string
}

func newPhone(tb testing.TB) *phone {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return phoneOf(tb, key)
}

func phoneOf(tb testing.TB, key *ecdsa.PrivateKey) *phone {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	thumb, err := deviceThumbprint(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	return &phone{key: key, der: der, thumb: thumb}
}

// proof signs what a phone whose clock shows at would sign.
func (p *phone) proof(tb testing.TB, issuer, audience string, at time.Time) string {
	tb.Helper()
	return p.sign(tb, jwt.MapClaims{"iss": issuer, "aud": audience, "iat": at.Unix(), "jti": rand.Text()})
}

func (p *phone) sign(tb testing.TB, claims jwt.MapClaims) string {
	tb.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(p.key)
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

func (h *house) tryEnrol(tb testing.TB, p *phone, code string) (*fieldsyncv1.EnrolResponse, error) {
	tb.Helper()
	return h.Enrol(tb.Context(), &fieldsyncv1.EnrolRequest{
		Code: code, PublicKey: p.der, Proof: p.proof(tb, p.thumb, audienceEnrol, h.clock.Now()), DeviceName: "Samsung A15",
	})
}

// enrolled is a phone of the member with a token.
func (h *house) enrolled(tb testing.TB, member string) *phone {
	tb.Helper()
	p := newPhone(tb)
	res, err := h.tryEnrol(tb, p, h.code(tb, member))
	if err != nil {
		tb.Fatal(err)
	}
	p.id, p.token = res.GetDeviceId(), res.GetAccessToken()
	return p
}

func (h *house) tryRefresh(tb testing.TB, p *phone, proof string) (*fieldsyncv1.RefreshResponse, error) {
	tb.Helper()
	return h.Refresh(tb.Context(), &fieldsyncv1.RefreshRequest{DeviceId: p.id, Proof: proof})
}

func (h *house) device(tb testing.TB, id string) (device *storagev1.Device) {
	tb.Helper()
	h.view(tb, func(tx *store.Tx) (err error) {
		device, err = store.Get(tx, store.DeviceKey(id))
		return err
	})
	return device
}

// as is a context in which the phone's member calls.
func (h *house) as(tb testing.TB, p *phone) context.Context {
	tb.Helper()
	var principal Principal
	h.view(tb, func(tx *store.Tx) (err error) {
		device, err := store.Get(tx, store.DeviceKey(p.id))
		if err != nil {
			return err
		}
		principal, err = loadPrincipal(tx, p.id, device.GetMemberId(), false)
		return err
	})
	return WithPrincipal(tb.Context(), principal)
}

func wantCode(tb testing.TB, err error, kind fault.Kind, code string) {
	tb.Helper()
	if fault.CodeOf(err) != code || fault.KindOf(err) != kind {
		tb.Fatalf("got %v, want %s (kind %d)", err, code, kind)
	}
	var f *fault.Error
	if errors.As(err, &f) && (f.Vi == "" || f.En == "") {
		tb.Errorf("%s has no sentence in both languages", code)
	}
}

// through sends a request with these Authorization headers through the middleware. It returns the principal that arrived
// behind it, without its token's key, or the error that the caller got.
func (h *house) through(tb testing.TB, path string, headers ...string) (*Principal, bool, *httptest.ResponseRecorder) {
	tb.Helper()
	var seen *Principal
	passed := false
	door := h.Middleware(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		passed = true
		if p, err := PrincipalFrom(r.Context()); err == nil {
			p.kid = ""
			seen = &p
		}
	}))
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, path, unread{tb})
	for _, header := range headers {
		r.Header.Add("Authorization", header)
	}
	w := httptest.NewRecorder()
	door.ServeHTTP(w, r)
	return seen, passed, w
}

// unread is a body that nobody may touch before the caller is known.
type unread struct{ t testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// shown reads the ErrorInfo of an answer in the Connect protocol's JSON.
func shown(tb testing.TB, w *httptest.ResponseRecorder) *fieldsyncv1.ErrorInfo {
	tb.Helper()
	var body struct {
		Details []struct {
			Value string `json:"value"`
		} `json:"details"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		tb.Fatalf("%v in %q", err, w.Body.String())
	}
	info := &fieldsyncv1.ErrorInfo{}
	if len(body.Details) != 1 {
		tb.Fatalf("no detail in %q", w.Body.String())
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(body.Details[0].Value, "="))
	if err != nil {
		tb.Fatal(err)
	}
	if err := proto.Unmarshal(raw, info); err != nil {
		tb.Fatal(err)
	}
	return info
}
