// Package mobile is the reference phone for gomobile: package phone behind types that Java, Kotlin, Objective-C and Swift can
// hold. Only what gobind can carry is exported: strings, booleans, int64, float64, byte slices, structs, and interfaces that
// the app implements; never unsigned numbers, other slices, maps, channels or functions. A test holds the API to that.
//
//	gomobile bind -target android -o fieldsync.aar github.com/cong1022/fieldsync/phone/mobile
//
// Every method may be called from any thread, and none but Enrol, Sync, Upload, Watch and Stop waits for the network or for a
// call that does. An error's text is "code: sentence", the sentence in the language that the phone was opened with;
// [Code] takes the code out of it. docs/protocol.md lists the codes.
package mobile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

// Phone is one device. Close it.
type Phone struct {
	phone *phone.Phone
	vi    bool

	// ctx ends with the phone: all calls under way end then.
	ctx context.Context //nolint:containedctx // A binding has no contexts: the phone's life is theirs.
	end context.CancelFunc

	mu       sync.Mutex
	position *fieldsyncv1.Position
	listener Listener
	stop     context.CancelFunc
	stopped  chan struct{}
}

// Listener is told what happens while the phone runs. The app implements it. Its methods are called on a thread of the
// phone's: they should hand over to the app's own and return, and must not call Stop or Close.
type Listener interface {
	// Changed: tasks, verdicts or the outbox are not what they were; what is stored can be read now.
	Changed(changed, removed, judged int64)
	// Stopped: Run has ended. code is empty after Stop, else why: the phone is not enrolled, or locked out.
	Stopped(code, sentence string)
}

// Open opens the phone in a folder of the app, which is made where it does not exist. version is the app's, for people;
// language is "vi" or "en". Errors: "phone_in_use".
func Open(folder, version, language string) (*Phone, error) {
	ctx, end := context.WithCancel(context.Background())
	p := &Phone{vi: language != "en", ctx: ctx, end: end}
	var err error
	p.phone, err = phone.Open(folder, phone.Options{
		AppVersion: version, Position: p.fix,
		Changed: func(r phone.Report) {
			if l := p.heard(); l != nil {
				l.Changed(int64(r.Changed), int64(r.Removed), int64(r.Sent))
			}
		},
	})
	if err != nil {
		end()
		return nil, p.said(err)
	}
	return p, nil
}

// Close ends every call under way, waits for Run to end, and closes the folder.
func (p *Phone) Close() error {
	p.end()
	p.Stop()
	return p.said(p.phone.Close())
}

// Enrol makes the phone a device of the member for whom the code was issued. name is what people call it. Safe to repeat with
// another code where the answer is lost.
func (p *Phone) Enrol(server, code, name string) error {
	return p.said(p.phone.Enrol(p.ctx, server, code, name))
}

// EnrolScanned is Enrol with what a QR code says: the text of an enrolment (fieldsync://enrol?…), as the camera read it.
func (p *Phone) EnrolScanned(text, name string) error {
	invitation, err := phone.ParseInvitation(text)
	if err != nil {
		return p.said(err)
	}
	return p.Enrol(invitation.Server, invitation.Code, name)
}

// SetPosition is the newest fix: it goes with what is recorded from now on, until the next one or ForgetPosition. Degrees,
// and the accuracy (68 %) in metres; mock where the system says that it comes from a mock provider.
func (p *Phone) SetPosition(latitude, longitude, accuracy float64, mock bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position = &fieldsyncv1.Position{Latitude: latitude, Longitude: longitude, AccuracyM: float32(accuracy), Mock: mock}
}

// ForgetPosition says that there is no fix.
func (p *Phone) ForgetPosition() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position = nil
}

func (p *Phone) fix() *fieldsyncv1.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position
}

func (p *Phone) heard() Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listener
}

// The intents: see package phone. Each is durable when the method returns without an error, and needs no network.

// Accept says that the crew will do the task.
func (p *Phone) Accept(task string) error { return p.said(p.phone.Accept(task)) }

// Start says that work begins.
func (p *Phone) Start(task string) error { return p.said(p.phone.Start(task)) }

// Pause interrupts work, with a reason of 1 to 500 characters.
func (p *Phone) Pause(task, reason string) error { return p.said(p.phone.Pause(task, reason)) }

// Resume goes on after a pause.
func (p *Phone) Resume(task string) error { return p.said(p.phone.Resume(task)) }

// Note writes something down: 1 to 2,000 characters.
func (p *Phone) Note(task, text string) error { return p.said(p.phone.Note(task, text)) }

// Tick ticks a checklist item off, or takes the tick back.
func (p *Phone) Tick(task, item string, checked bool) error {
	return p.said(p.phone.Tick(task, item, checked))
}

// Decline says that the crew can't take the task, with a reason of 1 to 500 characters.
func (p *Phone) Decline(task, reason string) error { return p.said(p.phone.Decline(task, reason)) }

// HandOver gives a begun task back for another crew, with a reason of 1 to 500 characters.
func (p *Phone) HandOver(task, reason string) error { return p.said(p.phone.HandOver(task, reason)) }

// Complete says how the task ended. outcome is the name of one in the API without its prefix and in small letters, such as
// "repaired" or "nothing_found". Errors: "outcome_unknown".
func (p *Phone) Complete(task, outcome, note string) error {
	value, ok := fieldsyncv1.Outcome_value["OUTCOME_"+strings.ToUpper(outcome)]
	if !ok || value == 0 {
		return p.said(fault.New(fault.Invalid, "outcome_unknown", "Không có kết quả này.", "There is no such outcome."))
	}
	return p.said(p.phone.Complete(task, fieldsyncv1.Outcome(value), note))
}

// Photo attaches the image in a file, which may be deleted afterwards, and returns the photo's id. kind is "before", "after"
// or empty.
func (p *Phone) Photo(task, file, kind string, fromGallery bool) (string, error) {
	id, err := p.phone.Photo(task, file, phone.PhotoFacts{
		Kind:        fieldsyncv1.PhotoKind(fieldsyncv1.PhotoKind_value["PHOTO_KIND_"+strings.ToUpper(kind)]),
		FromGallery: fromGallery,
	})
	return id, p.said(err)
}

// Sync sends the outbox and receives what has changed. One at a time; whoever comes meanwhile waits.
func (p *Phone) Sync() error {
	_, err := p.phone.Sync(p.ctx)
	return p.said(err)
}

// Upload sends the originals of photos.
func (p *Phone) Upload() error { return p.said(p.phone.Upload(p.ctx, nil)) }

// Watch waits until there is something to sync.
func (p *Phone) Watch() error { return p.said(p.phone.Watch(p.ctx)) }

// Run keeps the phone in sync on a thread of its own until Stop or Close: it syncs, uploads, waits for a change, and begins
// again after failures. It returns at once; listener may be null. A phone that runs already goes on as it is, with the new
// listener.
func (p *Phone) Run(listener Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = listener
	if p.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(p.ctx)
	stopped := make(chan struct{})
	p.stop, p.stopped = stop, stopped
	go func() {
		err := p.phone.Run(ctx)
		stop()
		p.mu.Lock()
		last := p.listener
		if p.stopped == stopped {
			p.stop, p.stopped = nil, nil
		}
		p.mu.Unlock()
		close(stopped)
		if last != nil {
			said := p.said(err)
			last.Stopped(Code(said), sentence(said))
		}
	}()
}

// Stop ends Run and waits until it has.
func (p *Phone) Stop() {
	p.mu.Lock()
	stop, stopped := p.stop, p.stopped
	p.mu.Unlock()
	if stop != nil {
		stop()
		<-stopped
	}
}

// said puts an error into words that an app can show.
func (p *Phone) said(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		return fmt.Errorf("internal: %w", err)
	}
	text := f.En
	if p.vi {
		text = f.Vi
	}
	return errors.New(f.Code + ": " + text)
}

// Code is the stable code in an error of this package: what stands before the first colon of its text, or empty where there
// is no error.
func Code(err error) string {
	if err == nil {
		return ""
	}
	code, _, _ := strings.Cut(err.Error(), ":")
	return code
}

func sentence(err error) string {
	if err == nil {
		return ""
	}
	_, text, _ := strings.Cut(err.Error(), ": ")
	return text
}
