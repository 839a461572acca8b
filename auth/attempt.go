package auth

import (
	"context"
	"net/http"
	"slices"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Attempt is a token that was asked for, or a token or key that was shown and refused, as whoever keeps count of these hears of it
// (Options.Attempts): neither the token nor anything else of what was sent is part of it.
type Attempt struct {
	// Act is what was attempted: "POST /oauth/token", or "Authorization: Bearer" for a token that came with a call of any kind,
	// or "api_key".
	Act string
	// Address is where it came from, with or without a port.
	Address string
	// Device is the device or client that the caller says to be. Empty where there is none of that id.
	Device string
	// Proven tells that a signature has shown it to be that.
	Proven bool
	// Outcome is "ok" or the code with which it was refused.
	Outcome string
}

// asExpected are refusals of tokens that honest phones and consoles meet every day: their time is over, and they get another one.
var asExpected = []string{"token_expired", "provider_token_expired"}

// tellRefused tells of a bearer token that was refused; p is whom its signature has shown, if it was good.
func (s *Service) tellRefused(r *http.Request, p Principal, err error) {
	if code := fault.CodeOf(err); fault.KindOf(err) == fault.Unauthenticated && !slices.Contains(asExpected, code) {
		s.tell(r.Context(), Attempt{
			Act: "Authorization: Bearer", Address: r.RemoteAddr, Device: p.DeviceID, Proven: p.DeviceID != "", Outcome: code,
		})
	}
}

func (s *Service) tell(ctx context.Context, attempt Attempt) {
	if s.o.Attempts != nil {
		s.o.Attempts(ctx, attempt)
	}
}
