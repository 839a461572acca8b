package phone

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// captureTime says when now is, with everything that lets the server bound it: the wall clock, the clock since boot, and
// the last server time that was heard.
func (p *Phone) captureTime(st *state) *fieldsyncv1.CaptureTime {
	c := &fieldsyncv1.CaptureTime{
		Wall:              timestamppb.New(p.clock()),
		BootId:            p.bootID,
		SinceBootMs:       p.sinceBootMS(),
		ServerSinceBootMs: st.Heard.SinceBootMS,
		ServerBootId:      st.Heard.BootID,
	}
	if !st.Heard.ServerTime.IsZero() {
		c.ServerTime = timestamppb.New(st.Heard.ServerTime)
	}
	return c
}

// hear takes note of the server's time. It is taken when the answer is here, so the true server time at this reading of the
// phone's clocks is never earlier: the lower bound that a capture time is computed from holds.
func (p *Phone) hear(st *state, server time.Time) {
	if server.IsZero() {
		return
	}
	st.Heard = heard{ServerTime: server, SinceBootMS: p.sinceBootMS(), BootID: p.bootID}
	st.Lease.Newest = time.Time{} // The server knows better.
	st.ClockOffset = server.Sub(p.clock())
}

// serverNow guesses the server's time, for proofs and for the expiry of tokens. The server is the judge of both.
func (p *Phone) serverNow(st *state) time.Time { return p.clock().Add(st.ClockOffset) }

func (p *Phone) sinceBootMS() uint64 {
	if p.monotonic == nil {
		return 0
	}
	return uint64(max(0, p.monotonic().Milliseconds()))
}
