package main

import "context"

// shrinkRuns bounds how many runs shrinking may take.
const shrinkRuns = 400

// shrink leaves out of the actions what the failure does not need: whole stretches first, then single steps, then faults.
// It returns the shortest run that it found to break the same rule. What it returns is not the least one there is.
func shrink(ctx context.Context, s setting, actions []action, bad *violation) (result, error) {
	left := shrinkRuns
	var shortest result
	fails := func(candidate []action) (bool, error) {
		if left--; left < 0 {
			return false, nil
		}
		r, err := run(ctx, s, candidate)
		if err != nil || r.bad == nil || r.bad.rule != bad.rule {
			return false, err
		}
		shortest = r
		return true, nil
	}
	actions = append([]action(nil), actions...)
	if again, err := fails(actions); err != nil || !again {
		return shortest, err
	}
	actions = actions[:shortest.steps]
	for size := len(actions) / 2; size > 0; size /= 2 {
		for at := len(actions) - size; at >= 0; at -= size {
			candidate := append(append([]action(nil), actions[:at]...), actions[at+size:]...)
			worse, err := fails(candidate)
			if err != nil {
				return shortest, err
			}
			if worse {
				actions = candidate
				at = min(at, len(actions)) // What is behind has moved here.
			}
		}
	}
	for i := range actions {
		for _, simpler := range actions[i].simpler() {
			before := actions[i]
			actions[i] = simpler(before)
			worse, err := fails(actions)
			if err != nil {
				return shortest, err
			}
			if !worse {
				actions[i] = before
			}
		}
	}
	_, err := fails(actions) // shortest is of the last candidate that failed.
	return shortest, err
}

// simpler are the ways in which an action can do with fewer faults.
func (a action) simpler() (ways []func(action) action) {
	if a.fate != committed {
		ways = append(ways, func(a action) action { a.fate = committed; return a })
	}
	for i, c := range a.cuts {
		if c != pass {
			ways = append(ways, func(a action) action {
				a.cuts = append([]cut(nil), a.cuts...)
				a.cuts[i] = pass
				return a
			})
		}
	}
	if a.during != nil {
		ways = append(ways, func(a action) action { a.during = nil; return a })
	}
	return ways
}
