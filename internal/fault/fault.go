// Package fault holds the one error type that the rooms of the house give to those who call them: what kind of failure it
// is, which one, and a sentence in Vietnamese and English. Everything that is not a fault is an internal error: it is
// logged where it leaves the process, and the caller learns nothing of it.
package fault

import (
	"errors"
	"time"
)

// Kind says what a caller can do about a failure. The faces map it to their own codes (Connect, HTTP, an exit status).
type Kind int

// The kinds, each named after the Connect code that it becomes.
const (
	// Internal is the kind of every error that is no fault.
	Internal Kind = iota
	// Invalid: the request is wrong whatever the state of the server.
	Invalid
	// NotFound: it does not exist, or the caller may not know that it does.
	NotFound
	// Precondition: the state forbids it; repeating the same request is useless until the state changes.
	Precondition
	// OutOfRange: past the end, as a cursor of a server that was restored.
	OutOfRange
	// Unauthenticated: nobody knows who calls.
	Unauthenticated
	// Denied: the caller's role does not reach here.
	Denied
	// Exhausted: a limit is reached.
	Exhausted
	// Unavailable: not now; repeat later.
	Unavailable
	// DataLoss: the bytes are not what they should be.
	DataLoss
)

// Error is a failure that may be shown to whoever called.
type Error struct {
	Kind Kind
	// Code is stable and machine-readable, in snake_case.
	Code string
	// Vi and En say what happened and what to do about it.
	Vi, En string
	// RetryAfter is set where a repeat may succeed.
	RetryAfter time.Duration
	// ExpectedNumber is set with the code mutation_gap.
	ExpectedNumber uint64
	// ServerTime is set with the code proof_time.
	ServerTime time.Time
}

// New makes a fault.
func New(kind Kind, code, vi, en string) *Error {
	return &Error{Kind: kind, Code: code, Vi: vi, En: en}
}

// Error returns the code and the English sentence, for logs and for shells.
func (e *Error) Error() string { return e.Code + ": " + e.En }

// Is makes two faults of one code the same to errors.Is, whatever their sentences say.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// KindOf returns the kind of the fault in err's chain, and Internal where there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// CodeOf returns the code of the fault in err's chain, and "" where there is none.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
