//go:build !linux

package embedded

// The faults are made with what Linux has.
var faults map[string]func(dir string)
