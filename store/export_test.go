package store

// AppendRemoval is reached through SaveTask only where there is something to remove.
var AppendRemoval = appendRemoval

// MaxSteps is how many steps an entry keeps.
const MaxSteps = maxSteps

// Steps is how many steps an entry has.
func (e LogEntry) Steps() int { return len(e.steps) }
