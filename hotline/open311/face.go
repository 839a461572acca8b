// Package open311 is the GeoReport v2 face (https://wiki.open311.org/GeoReport_v2) for systems that speak it already, such as
// FixMyStreet: discovery, services, requests, tokens, and FixMyStreet's servicerequestupdates in both directions
// (https://fixmystreet.org/updating/open311-extended/), in XML and JSON, below /open311/v2/.
package open311

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	rootPath = "/open311/"
	basePath = rootPath + "v2/"
)

// Options are what a Face needs. Store, Log, Hotline and ByAPIKey are required.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Hotline takes in what is reported.
	Hotline *hotline.Service
	// ByAPIKey tells who calls with an API key. Denied "api_key_invalid" for nobody.
	ByAPIKey func(r *http.Request, key string) (auth.Principal, error)
	// Jurisdiction is the jurisdiction_id of this city. Requests that name another are refused, those that name none are
	// taken. Empty: every request is taken.
	Jurisdiction string
	// PublicURL is where clients find the server, without a path. Empty: where the request went.
	PublicURL string
	// Services are what can be reported. A ticket of another category is shown with the category for a service.
	Services []Service
	// Catalogue tells what can be reported, asked anew for each request, where Services names nothing.
	Catalogue func(ctx context.Context) ([]Service, error)
	// PhotoPath is the path on this server at which anybody may fetch a public copy of a photo without its metadata. Nil: photos
	// are not shown.
	PhotoPath func(task, photo string) string
}

// Face serves GeoReport v2. It is safe for concurrent use; what it has answered to a POST is durable.
type Face struct {
	o        Options
	services map[string]Service
	// largeForms holds a place for each form that is larger than smallFormBytes, until it is dealt with.
	largeForms chan struct{}
}

// New makes a Face.
func New(o Options) *Face {
	f := &Face{o: o, services: make(map[string]Service, len(o.Services)), largeForms: make(chan struct{}, largeFormsAtOnce)}
	for _, s := range o.Services {
		f.services[s.Code] = s
	}
	return f
}

// now is the face with what can be reported at this moment.
func (f *Face) now(ctx context.Context) (*Face, error) {
	if len(f.o.Services) > 0 || f.o.Catalogue == nil {
		return f, nil
	}
	o := f.o
	var err error
	if o.Services, err = o.Catalogue(ctx); err != nil {
		return nil, err
	}
	return New(o), nil
}

// Routes mounts the face. Whoever composes the server puts authentication before the mux: an access token of the hotline's is
// as good as its API key.
func (f *Face) Routes(mux *http.ServeMux) { mux.Handle(rootPath, f) }

// request is a call as the handlers see it.
type request struct {
	*http.Request

	// body is the request's.
	body *boundedForm
	// id is the last part of the path, where the route has one.
	id string
	// form holds the parameters of the address and of the body, UTF-8 throughout.
	form url.Values
	// english is set where the caller asks for it; else people read Vietnamese.
	english bool
	// by calls. Empty on routes that are open to all.
	by auth.Principal
}

// root is where clients find the server.
func (f *Face) root(r *request) string {
	if f.o.PublicURL != "" {
		return strings.TrimSuffix(f.o.PublicURL, "/")
	}
	if r.URL.Scheme == "https" { // As the server's edge has found.
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func (r *request) say(vi, en string) string {
	if r.english {
		return en
	}
	return vi
}

// answer is what a handler has to say: XML has a root around what JSON lists.
type answer struct {
	status    int
	xml, json any
}

type handler func(f *Face, r *request) (answer, error)

// route is a resource of the face. Lists of categories are open to all; what citizens have reported is not.
type route struct {
	name      string
	hasID     bool
	get, post handler
	open      bool
}

var routes = []route{
	{name: "discovery", get: (*Face).discovery, open: true},
	{name: "services", get: (*Face).listServices, open: true},
	{name: "services", hasID: true, get: (*Face).defineService, open: true},
	{name: "requests", get: (*Face).listRequests, post: (*Face).postRequest},
	{name: "requests", hasID: true, get: (*Face).getRequest},
	{name: "tokens", hasID: true, get: (*Face).getToken},
	{name: "servicerequestupdates", get: (*Face).listUpdates, post: (*Face).postUpdate},
}

// ServeHTTP implements http.Handler.
func (f *Face) ServeHTTP(w http.ResponseWriter, httpRequest *http.Request) {
	r := &request{
		Request: httpRequest, body: &boundedForm{ReadCloser: httpRequest.Body, places: f.largeForms},
		english: strings.HasPrefix(httpRequest.Header.Get("Accept-Language"), "en"),
	}
	defer r.body.over()
	format := formatXML                // Of an answer to a request that names none.
	a, err := func() (answer, error) { //nolint:contextcheck // The request carries it.
		path := strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), rootPath), "v2/")
		dot := strings.LastIndexByte(path, '.')
		if dot < 0 || (path[dot:] != ".xml" && path[dot:] != ".json") {
			return answer{}, resourceUnknown()
		}
		if path[dot:] == ".json" {
			format = formatJSON
		}
		found, err := find(path[:dot], r)
		if err != nil {
			return answer{}, err
		}
		handle := found.get
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodPost:
			handle = found.post
		default:
			handle = nil
		}
		if handle == nil {
			return answer{}, methodUnknown()
		}
		if err := f.read(w, r, found.open); err != nil {
			return answer{}, err
		}
		current, err := f.now(r.Context())
		if err != nil {
			return answer{}, err
		}
		return handle(current, r)
	}()
	if err != nil {
		a = f.refusal(w.Header(), r, err) //nolint:contextcheck // The request carries it.
	}
	if err := write(w, format, a); err != nil {
		f.o.Log.DebugContext(httpRequest.Context(), "answering a GeoReport request", "error", err)
	}
}

// find looks up the route of a path without its format, and takes the id out of it.
func find(path string, r *request) (route, error) {
	name, id, hasID := strings.Cut(path, "/")
	for _, known := range routes {
		if known.name != name || known.hasID != hasID {
			continue
		}
		var err error
		if r.id, err = url.PathUnescape(id); err != nil || !utf8.ValidString(r.id) {
			break
		}
		return known, nil
	}
	return route{}, resourceUnknown()
}

// read reads the parameters, and finds out whether the caller means this city and who calls, in this order: what the
// parameters say is looked at only after that.
func (f *Face) read(w http.ResponseWriter, r *request, open bool) error {
	if err := r.readForm(w); err != nil {
		return err
	}
	if named := r.form.Get("jurisdiction_id"); named != "" && f.o.Jurisdiction != "" && named != f.o.Jurisdiction {
		return jurisdictionUnknown(f.o.Jurisdiction)
	}
	if open {
		return nil
	}
	if p, err := auth.PrincipalFrom(r.Context()); err == nil && p.Role == fieldsyncv1.Role_ROLE_HOTLINE {
		r.by = p
		return nil
	}
	var err error
	r.by, err = f.o.ByAPIKey(r.Request, r.form.Get("api_key"))
	return err
}

func resourceUnknown() error {
	return fault.New(fault.NotFound, "resource_unknown",
		"Không có tài nguyên này của GeoReport v2; địa chỉ phải kết thúc bằng .xml hoặc .json.",
		"GeoReport v2 has no such resource; an address ends with .xml or .json.")
}

func methodUnknown() error {
	return fault.New(fault.Invalid, "method_unknown",
		"Tài nguyên này không nhận phương thức HTTP này.", "This resource does not take this HTTP method.")
}

func jurisdictionUnknown(ours string) error {
	return fault.New(fault.NotFound, "jurisdiction_unknown",
		"Máy chủ này không phụ trách jurisdiction_id đó; nơi này là "+ours+".",
		"This server does not answer for that jurisdiction_id; it is "+ours+".")
}

// parameter is the fault of a parameter that cannot be.
func parameter(name, vi, en string) error {
	return fault.New(fault.Invalid, "parameter_invalid", name+" "+vi+".", name+" "+en+".")
}
