package phone

import (
	"errors"
	"strings"
	"testing"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Protects: the text of a QR code is the one that docs/protocol.md gives, is read back as it was, and anything that merely looks
// like it is refused before a code or a key goes anywhere.
func TestInvitation(t *testing.T) {
	said := Invitation{Server: "https://1022.example:8443", Code: "K7QD-2MXA-9RTC"}
	const text = "fieldsync://enrol?code=K7QD-2MXA-9RTC&server=https%3A%2F%2F1022.example%3A8443"
	if said.String() != text {
		t.Errorf("%s\nwant %s", said, text)
	}
	for _, read := range []string{text, " " + text + "\n", text + "&later=1", strings.Replace(text, "enrol?", "enrol/?", 1)} {
		if got, err := ParseInvitation(read); err != nil || got != said {
			t.Errorf("%q: %v %v", read, got, err)
		}
	}
	for _, wrong := range []string{
		"", "K7QD-2MXA-9RTC", "https://1022.example/enrol?code=a&server=b", "fieldsync:enrol?code=a&server=b", "fieldsync://enrol",
		"fieldsync://enrol?code=a", "fieldsync://enrol?server=b", "fieldsync://enrol?code=&server=b", "fieldsync://other?code=a&server=b",
		"fieldsync://enrol/x?code=a&server=b", "fieldsync://enrol?code=a&server=b&server=c", "fieldsync://enrol?code=a;&server=%zz",
		text + "&x=" + strings.Repeat("x", maxInvitation),
	} {
		_, err := ParseInvitation(wrong)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != "invitation_invalid" {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// Protects: whatever a camera reads, the parser ends with an invitation that says the same when written and read again, or refuses.
func FuzzInvitation(f *testing.F) {
	f.Add("fieldsync://enrol?code=K7QD-2MXA-9RTC&server=https%3A%2F%2F1022.example")
	f.Add("fieldsync://enrol?code=%00&server=%ff")
	f.Fuzz(func(t *testing.T, text string) {
		read, err := ParseInvitation(text)
		if err != nil {
			return
		}
		if again, err := ParseInvitation(read.String()); err == nil && again != read {
			t.Errorf("%q: %v, then %v", text, read, again)
		} else if err != nil && len(read.String()) <= maxInvitation {
			t.Errorf("%q: %v, which is not read again: %v", text, read, err)
		}
	})
}
