package sync

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects the phone whose outbox holds something monstrous: each gets its verdict, is kept where it can be, and what is behind
// it takes effect.
func TestMonstrousMutations(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	unknown := func(number uint64, size int) *fieldsyncv1.Mutation {
		m := &fieldsyncv1.Mutation{Number: number, TaskId: "t"}
		m.ProtoReflect().SetUnknown(fmt.Appendf([]byte{0xd2, 0x05, 0x80 | byte(size&0x7f), 0x80 | byte(size>>7&0x7f), byte(size >> 14)}, "%s", strings.Repeat("u", size)))
		return m
	}
	photos := complete(6, "t")
	for i := range 10_000 {
		photos.GetComplete().PhotoIds = append(photos.GetComplete().GetPhotoIds(), fmt.Sprintf("p%d", i))
	}
	batch := []*fieldsyncv1.Mutation{
		note(1, "t", strings.Repeat("x", 1<<20)),
		note(2, "t", strings.Repeat("đ", 1900)),
		note(3, "t", strings.Repeat("y", maxKeptBytes-200)),
		unknown(4, maxKeptBytes+1),
		unknown(5, 1000),
		photos,
		note(7, strings.Repeat("t", 1<<20), "?"),
		note(8, "t", "\x00\u202e\ufeff"),
		note(9, "t", "cuối"),
	}
	want := []judgement{tooLarge, applied, invalid, tooLarge, unknownIntent, invalid, tooLarge, applied, applied}
	for range 2 {
		for i, v := range h.mustPush(ctx, t, batch...) {
			if v.GetCode() != want[i].code || v.GetKind() != want[i].kind {
				t.Errorf("number %d: %s, want %s", i+1, v.GetCode(), want[i].code)
			}
		}
	}
	if kept := quarantined(t, h); len(kept) != 3 {
		t.Errorf("%d are kept", len(kept))
	}
	if n := len(h.load(t, "t").GetNotes()); n != 3 {
		t.Errorf("%d notes", n)
	}
}

// Protects the rule that device time never decides: clocks that are decades off, go backwards or are no time at all leave
// every verdict as it is, and no bound says more than the server knows.
func TestClocksThatLie(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	at := func(year int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	for i, clock := range []*fieldsyncv1.CaptureTime{
		{Wall: at(1970)},
		{Wall: at(2100), ServerTime: at(2100)},
		{Wall: at(1970), ServerTime: at(1970)},
		{Wall: &timestamppb.Timestamp{Seconds: 1 << 62}},
		{Wall: &timestamppb.Timestamp{Seconds: -1 << 62, Nanos: -1}, ServerTime: &timestamppb.Timestamp{Seconds: 1 << 62}},
		{BootId: "b", SinceBootMs: 1<<64 - 1, ServerBootId: "b", ServerSinceBootMs: 1<<64 - 2, ServerTime: at(2026)},
		{BootId: "b", SinceBootMs: 5, ServerBootId: "b", ServerSinceBootMs: 1<<64 - 1, ServerTime: at(2026)},
	} {
		m := note(uint64(3*i+1), "t", fmt.Sprint(i))
		m.Recorded, m.Position = clock, &fieldsyncv1.Position{Latitude: 10, Longitude: 106, FixedAt: clock.GetWall()}
		resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{
			Mutations: []*fieldsyncv1.Mutation{m}, InstallEpoch: 1, Clock: clock,
			Queue: &fieldsyncv1.QueueReport{Oldest: clock.GetWall()},
		})
		if err != nil || resp.GetVerdicts()[0].GetCode() != applied.code {
			t.Errorf("clock %v: %v, %v", clock, resp.GetVerdicts(), err)
			continue
		}
		notes := h.load(t, "t").GetNotes()
		recorded := notes[len(notes)-1].GetRecorded()
		if recorded.GetLatest().AsTime().After(h.now.Add(time.Second)) || recorded.GetEarliest() != nil && recorded.GetEarliest().AsTime().After(h.now) {
			t.Errorf("clock %v: recorded %v, now %v", clock, recorded, h.now)
		}
		// What dispatchers ask for must not break over it, and neither must the phones and browsers that read JSON.
		explained, err := h.engine.ExplainDevice(h.desk(t, "unit", "d"), &fieldsyncv1.ExplainDeviceRequest{DeviceId: "d"})
		if err != nil {
			t.Errorf("clock %v: explain: %v", clock, err)
		}
		wrong := note(uint64(3*i+2), "t", "")
		wrong.Recorded = clock
		photo := attach(uint64(3*i+3), "t", fmt.Sprint("p", i), 1)
		photo.GetAttachPhoto().GetPhoto().Captured, photo.GetAttachPhoto().GetPhoto().Position = clock, m.GetPosition()
		h.mustPush(ctx, t, wrong, photo)
		kept, err := h.engine.ListQuarantined(h.desk(t, "unit", "d"), &fieldsyncv1.ListQuarantinedRequest{})
		if err != nil || len(kept.GetMutations()) != i+1 {
			t.Errorf("clock %v: %d in quarantine, %v", clock, len(kept.GetMutations()), err)
		}
		for _, answer := range []proto.Message{h.load(t, "t"), explained, kept} {
			if _, err := protojson.Marshal(answer); err != nil {
				t.Errorf("clock %v: no JSON: %v", clock, err)
			}
		}
	}
}

// Protects the server's own fields: what a phone says of them is not heard.
func TestFieldsOfTheServer(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	m := note(1, "t", "thật")
	m.BaseRevision, m.AssignmentEpoch = 1<<63, 0
	forged, err := proto.Marshal(&fieldsyncv1.Note{Revision: 1 << 62, Id: "mine", Text: "thật", MemberId: "giám-đốc"})
	if err != nil {
		t.Fatal(err)
	}
	// The bytes of a whole note in the place of AddNote: fields 2, 4 and up are nothing that an AddNote has.
	forged = bytes.Replace(forged, []byte("mine"), []byte("MINE"), 1)
	m.GetAddNote().ProtoReflect().SetUnknown(forged[len(forged)-len("giám-đốc")-2:])
	if v := h.mustPush(ctx, t, m)[0]; v.GetCode() != applied.code {
		t.Fatalf("verdict %v", v)
	}
	task := h.load(t, "t")
	if n := task.GetNotes()[0]; n.GetMemberId() != "member-d" || n.GetRevision() != task.GetRevision() || task.GetRevision() > 10 || n.GetId() == "mine" {
		t.Errorf("note %v at revision %d", n, task.GetRevision())
	}
	photo := attach(2, "t", "p", 1)
	photo.GetAttachPhoto().GetPhoto().ProtoReflect().SetUnknown([]byte{0xf8, 0x01, 0x03}) // A state of its own.
	h.mustPush(ctx, t, photo)
	if p := h.load(t, "t").GetPhotos()[0]; p.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE || p.GetDeviceId() != "d" {
		t.Errorf("photo %v", p)
	}
}
