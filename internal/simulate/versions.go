package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// futureIntent is a field of Mutation that this server does not know.
const futureIntent = 90

// otherVersion makes of a sync what an app of another version would have sent, the same each time. Notes that begin with
// the name of opFuture are an intent of a newer app, of which the server knows nothing. A phone that is old says neither what
// it showed when something was recorded nor anything of its clocks but the wall's, and signs nothing.
func (w *world) otherVersion(c *call) {
	sent, err := plain(c.header, c.body)
	req := &fieldsyncv1.SyncRequest{}
	if err == nil {
		err = proto.Unmarshal(sent, req)
	}
	if err != nil {
		w.failf("harness", "reading a sync: %v", err)
		return
	}
	for _, m := range req.GetMutations() {
		if note := m.GetAddNote(); strings.HasPrefix(note.GetText(), string(opFuture)) {
			m.Intent = nil
			m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, futureIntent, protowire.BytesType), note.GetText()))
		}
		if c.set.old {
			m.AssignmentEpoch, m.BaseRevision = 0, 0
			age(m.GetRecorded())
			age(m.GetAttachPhoto().GetPhoto().GetCaptured())
			if said := m.GetComplete(); said != nil {
				said.Claim, said.ClaimSignature = nil, nil
			}
		}
	}
	if c.set.old {
		req.Clock, req.Queue, req.AppVersion, req.BudgetBytes = nil, nil, "", 0
	}
	if c.body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(req); err != nil {
		w.failf("harness", "writing a sync: %v", err)
	}
	c.header = c.header.Clone()
	c.header.Del("Content-Encoding")
	c.header.Set("Content-Length", strconv.Itoa(len(c.body)))
}

func age(t *fieldsyncv1.CaptureTime) {
	if t != nil {
		t.BootId, t.SinceBootMs, t.ServerBootId, t.ServerSinceBootMs = "", 0, "", 0
	}
}

// futureText reads what an intent of a newer app says.
func futureText(m *fieldsyncv1.Mutation) string {
	unknown := m.ProtoReflect().GetUnknown()
	number, kind, n := protowire.ConsumeTag(unknown)
	if n < 0 || number != futureIntent || kind != protowire.BytesType {
		return ""
	}
	text, n := protowire.ConsumeString(unknown[n:])
	if n < 0 {
		return ""
	}
	return text
}

// setServerClock lets the server's clock jump, as one does that was set by hand or found its time server again.
func (w *world) setServerClock(how int) string {
	w.injected["server-clock-jump"]++
	before := w.house.skew
	w.house.skew = []time.Duration{0, 40 * time.Second, -40 * time.Second, 2 * time.Hour, -2 * time.Hour, 24 * time.Hour}[how%6]
	if w.house.skew < before {
		w.setBack = w.now // What was recorded before may be said to be of later.
	}
	return fmt.Sprintf("the server is off by %v", w.house.skew)
}

// months passes them, and lets the server forget what is older than a phone may be offline.
func (w *world) months() string {
	w.injected["months"]++
	if w.house.engine.dead {
		return nothing
	}
	before := w.house.engine.crashed
	err := w.house.rooms.Forget(w.ctx)
	if err != nil && !w.harmed && !before {
		w.failf("internal error", "forgetting: %v", err)
	}
	w.pruneVerdicts()
	return "months pass: " + outcome(err)
}
