//go:build linux

package gate

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
)

// TestViewListBounded: what a command could see is recorded whole, or it is not
// shown.
func TestViewListBounded(t *testing.T) {
	for _, c := range []struct {
		files int
		want  string
	}{
		{10, ""},
		{17_000, "the list of the 17000 files that the command would see has 70907000 bytes, and at most 67108864 are recorded; grant less"},
	} {
		e := &expanding{view: &view{}}
		for range c.files {
			e.files = append(e.files, &shownFile{name: name{ledger: strings.Repeat("n", MaxName)}})
		}
		e.remember()
		got := ""
		if e.err != nil {
			if got = e.err.Message; e.err.Code != abi.CodeLimit {
				t.Errorf("code %s", e.err.Code)
			}
		}
		equal(t, "refused", got, c.want)
	}
}
