package open311

import (
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Service is a kind of thing that can be reported; its code is the category of the ticket.
type Service struct {
	// Code is the service_code: a category.
	Code string `yaml:"code"`
	// Vi and En are its names.
	Vi string `yaml:"vi"`
	En string `yaml:"en"`
	// CloseOnClaim tells the public of the outcome when the crew says that it is done; otherwise when its photos are verified
	// and the record is signed.
	CloseOnClaim bool `yaml:"close_on_claim"`
	// Retired takes no new reports; what was reported is still shown by its name.
	Retired bool `yaml:"-"`
}

type shownService struct {
	Code        string `json:"service_code" xml:"service_code"`
	Name        string `json:"service_name" xml:"service_name"`
	Description string `json:"description"  xml:"description"`
	Metadata    bool   `json:"metadata"     xml:"metadata"`
	Type        string `json:"type"         xml:"type"`
	Keywords    string `json:"keywords"     xml:"keywords"`
	Group       string `json:"group"        xml:"group"`
}

func (f *Face) listServices(r *request) (answer, error) {
	list := make([]shownService, 0, len(f.o.Services))
	for _, s := range f.o.Services {
		if s.Retired {
			continue
		}
		list = append(list, shownService{
			Code: s.Code, Name: r.say(s.Vi, s.En), Description: r.say(s.Vi, s.En), Type: "realtime", Keywords: s.Vi + "," + s.En,
		})
	}
	return answer{http.StatusOK, struct {
		XMLName  xml.Name       `xml:"services"`
		Services []shownService `xml:"service"`
	}{Services: list}, list}, nil
}

// defineService answers with no attributes: every service asks for the same.
func (f *Face) defineService(r *request) (answer, error) {
	s, ok := f.services[r.id]
	if !ok || s.Retired {
		return answer{}, serviceUnknown()
	}
	return answer{
		http.StatusOK, struct {
			XMLName    xml.Name `xml:"service_definition"`
			Code       string   `xml:"service_code"`
			Attributes struct{} `xml:"attributes"`
		}{Code: s.Code}, struct {
			Code       string     `json:"service_code"`
			Attributes []struct{} `json:"attributes"`
		}{s.Code, []struct{}{}},
	}, nil
}

func serviceUnknown() error {
	return fault.New(fault.NotFound, "service_unknown",
		"Không có loại dịch vụ này: hãy xem danh sách services.",
		"There is no such service: see the list of services.")
}

func (f *Face) serviceName(r *request, category string) string {
	if s, ok := f.services[category]; ok {
		return r.say(s.Vi, s.En)
	}
	return category
}

type endpoint struct {
	Specification string   `json:"specification" xml:"specification"`
	URL           string   `json:"url"           xml:"url"`
	Changeset     string   `json:"changeset"     xml:"changeset"`
	Type          string   `json:"type"          xml:"type"`
	Formats       []string `json:"formats"       xml:"formats>format"`
}

type discovery struct {
	XMLName    xml.Name   `json:"-"           xml:"discovery"`
	Changeset  string     `json:"changeset"   xml:"changeset"`
	Contact    string     `json:"contact"     xml:"contact"`
	KeyService string     `json:"key_service" xml:"key_service"`
	Endpoints  []endpoint `json:"endpoints"   xml:"endpoints>endpoint"`
}

// changeset is when this face last changed what it says.
const changeset = "2026-11-23T00:00:00+07:00"

func (f *Face) discovery(r *request) (answer, error) {
	d := discovery{
		Changeset:  changeset,
		Contact:    r.say("Tổng đài 1022", "Hotline 1022"),
		KeyService: r.say("Quản trị viên cấp api_key.", "An admin issues the api_key."),
		Endpoints: []endpoint{{
			Specification: "http://wiki.open311.org/GeoReport_v2", URL: f.root(r) + strings.TrimSuffix(basePath, "/"), Changeset: changeset,
			Type: "production", Formats: []string{"text/xml", "application/json"},
		}},
	}
	return answer{http.StatusOK, d, d}, nil
}
