//go:build !linux

package confinetest

import "testing"

// Needs skips a test: only Linux has what the fence is made of.
func Needs(t *testing.T) {
	t.Helper()
	t.Skip("this machine cannot put up the fence: it does not run Linux")
}

// NeedsLandlock skips a test likewise.
func NeedsLandlock(t *testing.T) {
	t.Helper()
	t.Skip("this machine cannot put up the lower fence: it does not run Linux")
}
