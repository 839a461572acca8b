package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net/http"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// A watch stream in one goroutine: the server's handler runs from its beginning to its end within the phone's request, and
// what happens meanwhile happens inside the handler, whenever it has sent a message. If that concerns the scope, the handler
// is woken and sends the next one; if not, or when nothing more is to happen, the network cuts the stream. The phone then
// gets what was sent, as over a slow network.

// stream is the phone's end of a watch stream.
type stream struct {
	w      *world
	call   call
	member string
	header http.Header
	status int
	sent   bytes.Buffer
	// told is how much of what was sent has been looked at.
	told int
	// next is what happens after the next message.
	next *action
	// wake receives what the handler is woken by.
	wake <-chan struct{}
	// end cuts the stream: what is sent from then on reaches nobody.
	end  context.CancelFunc
	over bool
}

// Header implements http.ResponseWriter.
func (s *stream) Header() http.Header { return s.header }

// WriteHeader implements http.ResponseWriter.
func (s *stream) WriteHeader(status int) { s.status = status }

// Write implements http.ResponseWriter.
func (s *stream) Write(b []byte) (int, error) {
	if s.over {
		return len(b), nil
	}
	return s.sent.Write(b)
}

// Flush implements http.Flusher: the server does so behind each message.
func (s *stream) Flush() {
	if s.over || s.sent.Len() == s.told {
		return
	}
	fresh := s.sent.Bytes()[s.told:]
	s.told = s.sent.Len()
	if s.w.seenFrame(s.call, s.member, s.header.Get("Connect-Content-Encoding"), fresh) {
		return // The server has ended it.
	}
	select {
	case <-s.wake:
	default:
	}
	for s.next != nil {
		a := s.next
		s.next = a.during
		s.w.now = s.w.now.Add(a.wait)
		s.w.meanwhile(s.call.set, a)
		select {
		case <-s.wake:
			return // The handler has been woken, too.
		default:
		}
	}
	s.over = true
	s.end()
}

// stream opens a watch stream and follows it to its end.
func (l *link) stream(c call) (*http.Response, error) {
	w, h := l.w, l.w.house
	meets := w.nextCut()
	if meets == dropRequest || meets == late {
		return nil, errCut
	}
	if h.engine.dead {
		return nil, errDown
	}
	ctx, end := context.WithCancel(w.ctx)
	defer end()
	_, member := bearer(c)
	s := &stream{w: w, call: c, member: member, header: make(http.Header), status: http.StatusOK, end: end}
	s.next = w.whileWaiting()
	var stop func()
	s.wake, stop = h.store.Subscribe(w.truth().scope(member).Topic())
	defer stop()
	r, err := w.request(ctx, c)
	if err != nil {
		return nil, err
	}
	w.injected["watch-stream"]++
	aborted := w.pass(s, r, c)
	if aborted || h.engine.crashed {
		return nil, errDown
	}
	switch meets {
	case dropAnswer:
		return nil, errCut
	case killed:
		l.set.die()
		return nil, errCut
	default:
	}
	body := io.Reader(bytes.NewReader(s.sent.Bytes()))
	if meets == cutAnswer {
		body = io.LimitReader(body, w.somewhere(s.sent.Len()))
	}
	if s.over || meets == cutAnswer {
		body = io.MultiReader(body, brokenReader{})
	}
	return &http.Response{
		StatusCode: s.status, Header: maps.Clone(s.header), Body: io.NopCloser(body), ContentLength: -1, ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// maxWaits bounds how often what happens while the step's phone waits does so: a move ends the stream, and the phone opens another at once.
const maxWaits = 20

// whileWaiting is what happens while the step's phone waits for a change, nil where it is another that does.
func (w *world) whileWaiting() *action {
	if w.action == nil || w.action.op != opWatch || w.depth != 1 || w.waits == maxWaits {
		return nil
	}
	w.waits++
	return w.action.during
}

// brokenReader is the end of a connection that was cut.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errCut }

// seenFrame looks at a message of a stream as it leaves. last: it is the stream's end.
func (w *world) seenFrame(c call, member, encoding string, frame []byte) (last bool) {
	if len(frame) < 5 || len(frame) != 5+int(binary.BigEndian.Uint32(frame[1:])) {
		w.failf("harness", "a message of a stream has %d bytes", len(frame))
		return true
	}
	header := http.Header{}
	if frame[0]&1 != 0 {
		header.Set("Content-Encoding", encoding)
	}
	body, err := plain(header, frame[5:])
	w.must("reading a message of a stream", err)
	t := w.truth()
	if t.members[member].GetRole() == fieldsyncv1.Role_ROLE_CREW {
		w.seenLeak(t, c, member, fieldsyncv1connect.SyncServiceWatchProcedure, body)
	}
	if frame[0]&2 != 0 {
		return true
	}
	said := &fieldsyncv1.WatchResponse{}
	if err := proto.Unmarshal(body, said); err != nil {
		w.failf("harness", "reading a message of a stream: %v", err)
		return true
	}
	if at := t.devices[w.deviceOf(c)].GetRevokedAt(); at != nil {
		w.failf("revoked", "%s is locked out and hears of changes", c.set.name)
	}
	scope := t.scope(member)
	if sequence, err := w.headOf(scope); err != nil || said.GetHead().GetSequence() != sequence {
		w.failf("watch", "%s is told of the head %d of %s, which is %d (%v)", c.set.name, said.GetHead().GetSequence(), scope, sequence, err)
	}
	if said.GetDelta() != nil {
		w.seenDelta(t, c, string(scope), said.GetDelta())
		if said.GetDelta().GetReset_() || said.GetDelta().GetMore() {
			w.failf("watch", "%s is pushed a delta that is no whole one", c.set.name)
		}
	}
	return false
}

func (w *world) deviceOf(c call) string {
	device, _ := bearer(c)
	return device
}

func (w *world) headOf(scope store.Scope) (sequence uint64, err error) {
	err = w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		head, err := store.Head(tx, scope)
		sequence = head.GetSequence()
		return err
	})
	return sequence, err
}

// poll is a long poll: what happens meanwhile happens before the server answers. Where nothing has come of it, the network
// gives the request up.
func (l *link) poll(c call) (*http.Response, error) {
	w := l.w
	for a := w.whileWaiting(); a != nil; a = a.during {
		w.now = w.now.Add(a.wait)
		w.meanwhile(l.set, a)
	}
	asked := &fieldsyncv1.AwaitChangeRequest{}
	if err := proto.Unmarshal(c.body, asked); err != nil {
		w.failf("harness", "reading a long poll: %v", err)
	}
	_, member := bearer(c)
	if sequence, err := w.headOf(w.truth().scope(member)); err != nil || sequence == asked.GetSequence() {
		return nil, errCut
	}
	w.injected["long-poll"]++
	return l.unary(c)
}

// watch lets a phone wait for a change, by a stream or, where it has learnt that streams do not live, by a long poll. It tries
// again after a failure, up to five times.
func (w *world) watch(h *handset, how int) string {
	if !h.enrolled {
		return h.name + ": " + nothing
	}
	err := h.phone.Watch(w.ctx)
	for again := how % 5; err != nil && again > 0 && !h.killed; again-- {
		err = h.phone.Watch(w.ctx)
	}
	w.checkCursor(h)
	if err == nil {
		w.checkReplica(h)
	}
	return h.name + " by " + string(h.status().Watching) + ": " + outcome(err)
}
