package auth

import (
	"log/slog"
	"net/http"
	"slices"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

const uploadsRoute = "/v1/uploads/"

// routes is the table of what is called without Connect, by the pattern under which it is mounted. What does not stand here is
// answered as if it were not there.
var routes = []Right{
	{What: uploadsRoute, Roles: []fieldsyncv1.Role{crew, lead}},
	{What: "GET /v1/tasks/{task}/photos/{photo}", Roles: viewers},
	{What: "GET /v1/tasks/{task}/photos/{photo}/thumbnail", Roles: viewers},
	{What: "PUT /v1/tasks/{task}/photos/{photo}/preview", Roles: []fieldsyncv1.Role{crew, lead}},
	{What: "GET /v1/tasks/{task}/evidence.zip", Roles: viewers},

	{What: "GET /v1/public/{task}/{photo}/{capability}", Else: "whoever has the link"},
	{What: "/open311/", Else: "an api_key, or a token of the role hotline; discovery and services: anyone"},
	{What: "GET /livez", Else: "anyone"},
	{What: "GET /readyz", Else: "anyone"},
	{What: "POST /oauth/token", Else: "a registered client, by private_key_jwt"},
	{What: SignInRoute, Else: "whoever has a token of the outside identity provider"},
	{What: "/.well-known/fieldsync-web-push-key.txt", Else: "anyone"},
	{What: "/.well-known/jwks.json", Else: "anyone"},
	{What: "/.well-known/fieldsync-proof-keys.json", Else: "anyone"},
	{What: "/.well-known/fieldsync-log-keys.txt", Else: "anyone"},
}

// viewers are those who look at the photos of the tasks that they see.
var viewers = []fieldsyncv1.Role{crew, lead, dispatcher, head, supervisor, admin}

// Routed puts the table before a mux whose "/" serves the RPCs, which have their own gate. A call that its role does not reach
// is refused before anything of it is read: Unauthenticated "token_missing", Denied "role_denied". A pattern that
// nobody has thought of is not found.
func Routed(mux *http.ServeMux, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		if pattern != "/" && pattern != "" { // The latter is the mux's own answer: no such path, or another method.
			i := slices.IndexFunc(routes, func(right Right) bool { return right.What == pattern })
			if i < 0 {
				log.ErrorContext(r.Context(), "no right stands in auth/routes.go for a route that is mounted", "route", pattern)
				http.NotFound(w, r)
				return
			}
			if err := routeAllowed(routes[i], r); err != nil {
				faultwire.WriteHTTP(w, r, log, err)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

func routeAllowed(right Right, r *http.Request) error {
	// Who asks for a route's options asks for nothing of anyone's (tus 1.0, "OPTIONS").
	if right.Else != "" || r.Method == http.MethodOptions {
		return nil
	}
	p, err := PrincipalFrom(r.Context())
	if err != nil {
		return err
	}
	return p.reaches(right.What, right.Roles)
}
