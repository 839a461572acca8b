package store

// AppendRemoval is reached through SaveTask only where there is something to remove.
var AppendRemoval = appendRemoval

// MaxSteps is how many steps an entry keeps.
const MaxSteps = maxSteps
