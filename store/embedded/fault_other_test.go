//go:build !unix

package embedded

// Elsewhere there are no user ids and no limits of file descriptors to take from a process.
var faults map[string]func(dir string)
