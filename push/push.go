// Package push wakes devices. Other rooms write a row into the store's outbox in the transaction of what happened; the
// Worker here takes it out and hands it to a Sender. A push says no more than "sync": whoever carries it learns nothing, and
// everything works without it, only later.
package push

import (
	"context"
	"errors"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

// Message is a hint for one device.
type Message struct {
	// DeviceID is whom it is for, for logs. It is not sent.
	DeviceID string
	// Address is where to send it. It is as good as a password for bothering the device: never log it.
	Address *storagev1.PushAddress
	// Visible hints show a fixed notification to the person.
	Visible bool
	// Reminder says that what is shown tells of no new task.
	Reminder bool
}

// title is all that a person sees of a visible hint before the app has synced: the same for every task.
func (m Message) title() string {
	vi, en := "Có công việc mới", "New task"
	if m.Reminder {
		vi, en = "Có việc cần xem", "Something to look at"
	}
	switch m.Address.GetLanguage() {
	case "vi":
		return vi
	case "en":
		return en
	default:
		return vi + " · " + en
	}
}

// Sender hands a message to a push service. It is safe for concurrent use, tries once, and returns soon after ctx has ended.
// A nil error means that the service has taken the message over, not that the device has it. The errors are ErrUnregistered,
// ErrRejected, a *RetryError, or anything else, which is worth a retry too; none of them names an address. A message may have
// gone out although an error came back, so the device may see it twice.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

var (
	// ErrUnregistered means that the address is dead and will stay so.
	ErrUnregistered = errors.New("push: the address is not registered")
	// ErrRejected means that the service will never take this message, whatever the time.
	ErrRejected = errors.New("push: the message was rejected")
)

// RetryError means that the service cannot take the message now.
type RetryError struct {
	// After is how long the service asks to be left alone. 0 where it did not say.
	After time.Duration
	// Err is why.
	Err error
}

// Error implements error.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RetryError) Unwrap() error { return e.Err }
