//go:build !linux

package main

// fault is a class of faults. They are made with what Linux has.
type fault struct {
	name string
	make func(work string, more more) (result, error)
}

var faults []fault
