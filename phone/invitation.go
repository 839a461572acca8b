package phone

import (
	"net/url"
	"strings"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Invitation is all that a phone needs to enrol: what the QR code says that an admin or a dispatcher shows.
type Invitation struct {
	Server string // Its address, such as https://1022.example.
	Code   string // The one-time code: whoever has the text within ten minutes can enrol.
}

// maxInvitation bounds what is read: a QR code cannot hold more than 2,953 bytes.
const maxInvitation = 2953

// String is the text of the QR code: fieldsync://enrol?code=CODE&server=ADDRESS, a URI (RFC 3986) that an app can be opened by.
func (i Invitation) String() string {
	query := url.Values{"server": {i.Server}, "code": {i.Code}}
	return (&url.URL{Scheme: "fieldsync", Host: "enrol", RawQuery: query.Encode()}).String()
}

// ParseInvitation reads the text of a QR code. What it does not know in there, it leaves alone: later servers may say more.
// Invalid "invitation_invalid" for any other text.
func ParseInvitation(text string) (Invitation, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxInvitation {
		return Invitation{}, errInvitation()
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "fieldsync" || u.Host != "enrol" || u.Path != "" && u.Path != "/" {
		return Invitation{}, errInvitation()
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query["server"]) != 1 || len(query["code"]) != 1 || query.Get("server") == "" || query.Get("code") == "" {
		return Invitation{}, errInvitation()
	}
	return Invitation{Server: query.Get("server"), Code: query.Get("code")}, nil
}

func errInvitation() error {
	return fault.New(fault.Invalid, "invitation_invalid",
		"Mã QR này không phải mã đăng ký của fieldsync (fieldsync://enrol?…): hãy xin điều phối viên mã mới.",
		"This is no enrolment code of fieldsync (fieldsync://enrol?…): ask the dispatcher for a new one.")
}
