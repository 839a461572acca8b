package backup

import (
	"context"
	"slices"
	"time"
)

// Prune removes what no restore to a time after before needs: snapshots older than the newest one until then, and the parts behind
// those up to it. Photos stay. It returns how many objects it removed. Where it is cut short, what is left can be restored, and the next
// call goes on.
func Prune(ctx context.Context, target Target, before time.Time) (removed int, err error) {
	objects, _, err := List(ctx, target)
	if err != nil {
		return 0, err
	}
	old := superfluous(objects, before)
	return len(old), target.Remove(ctx, old)
}

// superfluous names what Prune removes, snapshots first: a snapshot without the parts behind it would look like a gap, parts without the
// snapshot before them are only in the way.
func superfluous(objects []Object, before time.Time) (names []string) {
	var base Object // A restore to before begins there.
	for _, o := range objects {
		if o.Kind == kindSnapshot && !o.At.After(before) && (base.Name == "" || o.At.After(base.At)) {
			base = o
		}
	}
	if base.Name == "" {
		return nil
	}
	for i, o := range objects { // Those who do not write any more. They are sorted, as a target lists them.
		if o.Kind == kindWriter && slices.ContainsFunc(objects[i+1:], func(later Object) bool { return later.Kind == kindWriter }) {
			names = append(names, o.Name)
		}
	}
	for _, kind := range []string{kindSnapshot, kindPart} {
		for _, o := range objects {
			needed := o.Journal == base.Journal && o.Last > base.Last || !o.At.Before(base.At) || o.Name == base.Name
			if o.Kind == kind && !needed {
				names = append(names, o.Name)
			}
		}
	}
	return names
}

// prune removes what is older than is to be kept. What goes wrong there holds nothing up: the next snapshot is the next occasion.
func (s *Shipper) prune(ctx context.Context) {
	if s.options.Keep == 0 {
		return
	}
	removed, err := Prune(ctx, s.options.Target, s.options.Now().Add(-s.options.Keep))
	switch {
	case err != nil && ctx.Err() == nil:
		s.options.Log.WarnContext(ctx, "backup: what is older than is to be kept could not be removed", "keep", s.options.Keep, "error", err)
	case removed > 0:
		s.options.Log.InfoContext(ctx, "backup: what is older than is to be kept was removed", "keep", s.options.Keep, "objects", removed)
	}
}
