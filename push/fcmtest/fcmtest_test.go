package fcmtest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// assertion is what a good client signs, after change.
func (s *Server) assertion(t *testing.T, key *rsa.PrivateKey, change func(claims jwt.MapClaims, header map[string]any)) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": account, "aud": s.tokenURI(), "scope": scope, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = keyID
	if change != nil {
		change(claims, token.Header)
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (s *Server) exchange(t *testing.T, grantType, assertion string) (status int, bearer string) {
	t.Helper()
	form := url.Values{"grant_type": {grantType}, "assertion": {assertion}}.Encode()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.tokenURI(), strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer.AccessToken
}

const bearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// A fake that lets a wrong grant pass would let a sender pass that Google turns away.
func TestGrant(t *testing.T) {
	s := Start(t)
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(claim string, value any) func(jwt.MapClaims, map[string]any) {
		return func(claims jwt.MapClaims, _ map[string]any) { claims[claim] = value }
	}
	for _, tt := range []struct {
		name, grantType, assertion string
		want                       int
	}{
		{"good", bearerGrant, s.assertion(t, s.key, nil), http.StatusOK},
		{"another grant", "client_credentials", s.assertion(t, s.key, nil), http.StatusBadRequest},
		{"no assertion", bearerGrant, "", http.StatusBadRequest},
		{"another key", bearerGrant, s.assertion(t, foreign, nil), http.StatusBadRequest},
		{"another key id", bearerGrant, s.assertion(t, s.key, func(_ jwt.MapClaims, h map[string]any) { h["kid"] = "x" }), http.StatusBadRequest},
		{"another account", bearerGrant, s.assertion(t, s.key, set("iss", "somebody@example.com")), http.StatusBadRequest},
		{"another audience", bearerGrant, s.assertion(t, s.key, set("aud", "https://example.com/token")), http.StatusBadRequest},
		{"another scope", bearerGrant, s.assertion(t, s.key, set("scope", "https://www.googleapis.com/auth/drive")), http.StatusBadRequest},
		{"expired", bearerGrant, s.assertion(t, s.key, set("exp", time.Now().Add(-time.Minute).Unix())), http.StatusBadRequest},
		{"too long", bearerGrant, s.assertion(t, s.key, set("exp", time.Now().Add(2*time.Hour).Unix())), http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, bearer := s.exchange(t, tt.grantType, tt.assertion)
			if status != tt.want || (bearer != "") != (tt.want == http.StatusOK) {
				t.Errorf("status %d, bearer %q; want %d", status, bearer, tt.want)
			}
		})
	}
}

// The same for messages: what the real service, or the phone behind it, would turn away must not pass here.
func TestMessagesAreChecked(t *testing.T) {
	s := Start(t)
	_, bearer := s.exchange(t, bearerGrant, s.assertion(t, s.key, nil))
	const (
		silent  = `"data":{"hint":"sync"},"android":{"collapse_key":"sync","priority":"normal"}`
		title   = `"notification":{"title":"x"}`
		content = "application/json; charset=utf-8"
	)
	message := func(fields string) string { return `{"message":{` + fields + `}}` }
	for _, tt := range []struct {
		name, bearer, content, body string
		want                        int
		field                       string
	}{
		{"silent", bearer, content, message(`"token":"t",` + silent), 200, ""},
		{"to an installation", bearer, content, message(`"fid":"f",` + silent), 200, ""},
		{"visible", bearer, content, message(`"token":"t",` + title + `,"android":{"collapse_key":"k","priority":"high"}`), 200, ""},
		{"no bearer", "", content, message(`"token":"t",` + silent), 401, ""},
		{"another bearer", "ya29.forged", content, message(`"token":"t",` + silent), 401, ""},
		{"a form", bearer, "application/x-www-form-urlencoded", "token=t", 400, ""},
		{"no JSON", bearer, content, "{", 400, "message"},
		{"two values", bearer, content, message(`"token":"t",`+silent) + "{}", 400, ""},
		{"no message", bearer, content, "{}", 400, "message"},
		{"nobody", bearer, content, message(silent), 400, "message"},
		{"two addresses", bearer, content, message(`"token":"t","fid":"f",` + silent), 400, "message"},
		{"an empty token", bearer, content, message(`"token":"",` + silent), 400, "message.token"},
		{"a topic", bearer, content, message(`"topic":"t",` + silent), 400, "message"},
		{"a condition", bearer, content, message(`"condition":"'a' in topics",` + silent), 400, "message"},
		{"an unknown field", bearer, content, message(`"token":"t","tokens":[],` + silent), 400, "message"},
		{"a number in the data", bearer, content, message(`"token":"t","data":{"n":1}`), 400, "message"},
		{"reserved: from", bearer, content, message(`"token":"t","data":{"from":"x"}`), 400, "message.data"},
		{"reserved: message_type", bearer, content, message(`"token":"t","data":{"message_type":"x"}`), 400, "message.data"},
		{"reserved: google.", bearer, content, message(`"token":"t","data":{"google.x":"x"}`), 400, "message.data"},
		{"reserved: gcm.", bearer, content, message(`"token":"t","data":{"gcm.x":"x"}`), 400, "message.data"},
		{"too big", bearer, content, message(`"token":"t","data":{"d":"` + strings.Repeat("x", maxPayload) + `"}`), 400, "message"},
		{"urgent", bearer, content, message(`"token":"t","android":{"collapse_key":"k","priority":"urgent"}`), 400, "message.android.priority"},
		{"high and unseen", bearer, content, message(`"token":"t","android":{"collapse_key":"k","priority":"high"}`), 400, "message.android.priority"},
		{"no collapse key", bearer, content, message(`"token":"t","android":{"priority":"normal"}`), 400, "message.android.collapse_key"},
		{
			"background at 10", bearer, content,
			message(`"token":"t",` + silent + `,"apns":{"headers":{"apns-push-type":"background","apns-priority":"10"},"payload":{"aps":{"content-available":1}}}`),
			400, "message.apns.headers",
		},
		{
			"background without content-available", bearer, content,
			message(`"token":"t",` + silent + `,"apns":{"headers":{"apns-push-type":"background","apns-priority":"5"},"payload":{"aps":{}}}`),
			400, "message.apns.payload",
		},
		{
			"an alert of nothing", bearer, content,
			message(`"token":"t",` + silent + `,"apns":{"headers":{"apns-push-type":"alert","apns-priority":"10"}}`),
			400, "message.apns.headers",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(s.Messages())
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
				s.Endpoint()+"/projects/"+project+"/messages:send", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", tt.content)
			request.Header.Set("Authorization", "Bearer "+tt.bearer)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tt.want {
				t.Errorf("status %d, want %d: %s", response.StatusCode, tt.want, body)
			}
			if tt.field != "" && !strings.Contains(string(body), `"field":"`+tt.field+`"`) {
				t.Errorf("the field %s is not named: %s", tt.field, body)
			}
			if accepted := len(s.Messages()) - before; (accepted == 1) != (tt.want == 200) {
				t.Errorf("%d messages accepted", accepted)
			}
		})
	}
}
