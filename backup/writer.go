package backup

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store/journal"
)

// A repository belongs to one server at a time. Whoever ships says so there first, in an object of its own (kind writer), whose number is one
// more than the newest's: the newest one ships, and all others stop. A server takes over from itself, as after a restart, and from
// what it was restored from; in a repository of others it does not begin.

// mine looks at what the target holds and has this shipper be the one that writes there, or says why it cannot be.
func (s *Shipper) mine(ctx context.Context, objects []Object) error {
	id, before := s.options.Engine.Journal().ID(), s.options.Engine.Before()
	var newest, foreign Object // The newest writer, and the newest object of a journal that is not this server's.
	var known, from bool       // The target holds something of this journal; of one that this server was made of.
	for _, o := range objects {
		switch {
		case o.Kind == kindPhoto:
			continue
		case o.Kind == kindWriter && (newest.Name == "" || o.Name > newest.Name):
			newest = o
		}
		switch {
		case o.Journal == id:
			known = true
		case slices.Contains(before, o.Journal):
			from = true
		case foreign.Name == "" || o.At.After(foreign.At):
			foreign = o
		}
	}
	switch {
	case newest.Name != "" && newest.Name == s.writer:
		return nil
	case newest.Name > s.writer && s.writer != "", newest.Name != "" && newest.Journal != id && known,
		newest.Name != "" && newest.Journal != id && from && !slices.Contains(before, newest.Journal):
		return errTaken(newest)
	case !known && !from && foreign.Name != "":
		return errRepositoryForeign(foreign)
	}
	if err := s.unforked(objects); err != nil {
		return err
	}
	return s.write(ctx, newest.Last+1)
}

// write says that this shipper is the writer from now on. Where two do that at once, the later name is the newest, and both see it.
func (s *Shipper) write(ctx context.Context, number uint64) error {
	var instance [8]byte
	if _, err := rand.Read(instance[:]); err != nil {
		return err
	}
	now, id := s.options.Now(), s.options.Engine.Journal().ID()
	says := fmt.Sprintf("Journal %016x is shipped here since %s, by the process %x.\n", id, now.UTC().Format(time.RFC3339), instance)
	file, sum, err := seal(strings.NewReader(says), true, nil)
	if err != nil {
		return err
	}
	defer func() { _ = discard(file) }() // In the system's folder for temporary files.
	name := fmt.Sprintf("%s/%020d-%016x-%020d-%s", kindWriter, number, id, now.UnixNano(), sum)
	if err := s.options.Target.Put(ctx, name, file); err != nil {
		return err
	}
	s.writer = name
	return s.stillMine(ctx)
}

// stillMine returns a fault where another one has said since that it writes.
func (s *Shipper) stillMine(ctx context.Context) error {
	names, err := s.options.Target.List(ctx, kindWriter+"/")
	if err != nil || len(names) == 0 {
		return err
	}
	if newest, ours := parse(names[len(names)-1]); ours && newest.Name > s.writer {
		return errTaken(newest)
	}
	return nil
}

// unforked returns a fault where the target holds records of this journal that the journal itself does not hold: its folder was copied and
// both went on, or it was put back to an older state.
func (s *Shipper) unforked(objects []Object) error {
	j := s.options.Engine.Journal()
	var newest Object
	for _, o := range objects {
		if o.Journal == j.ID() && o.Kind != kindWriter && o.Last > newest.Last {
			newest = o
		}
	}
	switch {
	case newest.Last > j.Last():
		return errForked(j.Last() + 1)
	case newest.Kind != kindPart || newest.Last < j.First():
		return nil // A snapshot is dated by its file. What follows on it tells, when it is restored.
	}
	for record, err := range j.Records(newest.Last) {
		batch := new(storagev1.JournalBatch)
		if err == nil {
			err = proto.Unmarshal(record.Payload, batch)
		}
		if err == nil && !batch.GetAt().AsTime().Equal(newest.At) {
			err = errForked(newest.Last)
		}
		return err
	}
	return nil
}

// chain is where a journal's records stand while those of several objects are read one after the other.
type chain struct {
	last uint64
	sum  uint32 // Of the record last; 0 where it is not known.
}

// follow takes the next record: errMixed where it does not follow on those before it, or is another one than what stood in its place.
func (c *chain) follow(record journal.Record, after uint32) error {
	sum := journal.Sum(record.Payload)
	switch {
	case c.sum == 0:
	case record.Sequence == c.last && sum != c.sum, record.Sequence == c.last+1 && after != 0 && after != c.sum:
		return errMixed
	}
	if record.Sequence >= c.last {
		c.last, c.sum = record.Sequence, sum
	}
	return nil
}

// span is from when to when a journal was shipped, as far as the target still tells.
type span struct {
	Journal  uint64
	From, To time.Time
}

// spansOf tells who has shipped into a target when, the first one first, up to a moment if it is not zero.
func spansOf(objects []Object, until time.Time) []span {
	var spans []span
	for _, o := range objects {
		if o.Kind != kindSnapshot && o.Kind != kindPart || !until.IsZero() && o.At.After(until) {
			continue
		}
		i := slices.IndexFunc(spans, func(s span) bool { return s.Journal == o.Journal })
		if i < 0 {
			spans = append(spans, span{o.Journal, o.At, o.At})
			continue
		}
		if o.At.Before(spans[i].From) {
			spans[i].From = o.At
		}
		if o.At.After(spans[i].To) {
			spans[i].To = o.At
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.From.Compare(b.From) })
	return spans
}

// Mixed is the fault backup_histories where several servers have shipped into a target at the same time.
func Mixed(objects []Object) error {
	if beside := besideEachOther(spansOf(objects, time.Time{})); len(beside) > 0 {
		return errHistories(beside)
	}
	return nil
}

// besideEachOther returns those of the spans that have gone on after another one had begun, with that: two servers have shipped at the same time.
// None where each ended before the next began, as when a server is restored.
func besideEachOther(spans []span) (beside []span) {
	for i, s := range spans {
		if slices.ContainsFunc(spans[:i], func(o span) bool { return o.To.After(s.From) }) ||
			slices.ContainsFunc(spans[i+1:], func(o span) bool { return s.To.After(o.From) }) {
			beside = append(beside, s)
		}
	}
	return beside
}
