package sync

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// bounds turns a phone's account of a moment into an interval of the server's time. Only differences of the monotonic clock
// within one boot count, and times that the server itself gave out; the wall clock is carried along for display.
//
//   - Not after: the mutation was recorded before it was sent. Where both happened in the same boot, before the arrival by
//     at least the monotonic time between them.
//   - Not before: the phone had heard the server's time before. Where that was in the same boot, later than that time by the
//     monotonic time since.
//
// Both bounds are widened to whole seconds, which nobody needs finer and phones would have to carry.
//
// An account that contradicts itself (the interval would be empty) falls back to what the server knows alone: not after now.
func bounds(recorded, sent *fieldsyncv1.CaptureTime, arrived time.Time) *fieldsyncv1.TimeInterval {
	interval := &fieldsyncv1.TimeInterval{}
	if wall := recorded.GetWall(); wall != nil {
		interval.Wall = &timestamppb.Timestamp{Seconds: wall.GetSeconds()}
	}
	latest := arrived
	if sameBoot(recorded.GetBootId(), sent.GetBootId()) && recorded.GetSinceBootMs() <= sent.GetSinceBootMs() {
		latest = arrived.Add(-milliseconds(sent.GetSinceBootMs() - recorded.GetSinceBootMs()))
	}
	if heard := recorded.GetServerTime(); heard.IsValid() {
		earliest := heard.AsTime()
		if sameBoot(recorded.GetBootId(), recorded.GetServerBootId()) && recorded.GetServerSinceBootMs() <= recorded.GetSinceBootMs() {
			earliest = earliest.Add(milliseconds(recorded.GetSinceBootMs() - recorded.GetServerSinceBootMs()))
		}
		if earliest.After(latest) {
			interval.Latest = wholeSecondsUp(arrived)
			return interval
		}
		interval.Earliest = timestamppb.New(earliest.Truncate(time.Second))
	}
	interval.Latest = wholeSecondsUp(latest)
	return interval
}

// eachImpossible finds the times in a message that are none, as whoever gives milliseconds for seconds sends them. No JSON can hold a year
// beyond 9999: one such time in a task would keep its whole scope from all who read JSON.
func eachImpossible(m protoreflect.Message, found func(in protoreflect.Message, field protoreflect.FieldDescriptor)) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return true
		}
		if at, ok := value.Message().Interface().(*timestamppb.Timestamp); !ok {
			eachImpossible(value.Message(), found)
		} else if !at.IsValid() {
			found(m, field)
		}
		return true
	})
}

// dropImpossible takes them out.
func dropImpossible(m protoreflect.Message) { eachImpossible(m, protoreflect.Message.Clear) }

// withPossibleTimes is the mutation as it is judged: clocks decide nothing, and one that is impossible says nothing.
func withPossibleTimes(m *fieldsyncv1.Mutation) *fieldsyncv1.Mutation {
	impossible := false
	eachImpossible(m.ProtoReflect(), func(protoreflect.Message, protoreflect.FieldDescriptor) { impossible = true })
	if impossible { // Every mutation comes by here, and hardly one is copied.
		m = proto.CloneOf(m)
		dropImpossible(m.ProtoReflect())
	}
	return m
}

func wholeSecondsUp(t time.Time) *timestamppb.Timestamp {
	return timestamppb.New(t.Add(time.Second - time.Nanosecond).Truncate(time.Second))
}

func sameBoot(a, b string) bool { return a != "" && a == b }

// milliseconds is bounded to a hundred years: a phone may say anything.
func milliseconds(ms uint64) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	return time.Duration(min(ms, uint64(century/time.Millisecond))) * time.Millisecond
}
