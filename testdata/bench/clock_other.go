//go:build !linux

package main

// cpuTime is not known: guests run on Linux only.
func cpuTime() (thread, process float64) { return 0, 0 }
