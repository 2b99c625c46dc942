//go:build linux

package gate

import (
	"os"
	"testing"

	"github.com/agenthost/agenthost/capability"
)

// TestRootsWithin: a root of agenthost in the workspace does not exist for
// agents, whoever's it is and whatever it is called.
func TestRootsWithin(t *testing.T) {
	for _, format := range []string{"agenthost root v1\n", "agenthost folder v1\n", "agenthost root v9\n"} {
		w := newWorld(t, setup{grants: capability.Grants{Read: []string{"**"}, Write: []string{"**"}}, outputs: []string{"**"}, files: map[string]string{
			"sub/kept/FORMAT": format, "sub/kept/planes/ho1/sessions/SES-1/ledger/blobs/ab/cd": "secret", "sub/plain/FORMAT": "something else",
		}})
		open := func(p string, flags Flags) func() Errno {
			return func() Errno { _, errno := w.Open(WASI, p, flags); return errno }
		}
		const hidden = "noent hidden its folder is a root of agenthost"
		equal(t, "read", w.does(open("sub/kept/planes/ho1/sessions/SES-1/ledger/blobs/ab/cd", Read)), "noent hidden its folder is a root of agenthost")
		equal(t, "format", w.does(open("sub/kept/FORMAT", Read)), hidden)
		equal(t, "stat", w.does(func() Errno { _, errno := w.Stat(WASI, "sub/kept"); return errno }), "noent granted its folder is a root of agenthost")
		equal(t, "list", w.does(open("sub/kept/planes", Read|Directory)), "noent granted its folder is a root of agenthost")
		folder, errno := w.Open(WASI, "sub", Read|Directory)
		if errno != Success {
			t.Fatal(errno)
		}
		names, _ := folder.List()
		if len(names) != 1 || names[0].Name != "plain" {
			t.Errorf("sub holds %+v, want plain alone", names)
		}
		equal(t, "another format", w.does(open("sub/plain/FORMAT", Read)), "success granted")
		equal(t, "write", w.does(open("sub/kept/new", Write|Create)), "noent granted")
		equal(t, "mkdir", w.does(func() Errno { return w.Mkdir(WASI, "sub/kept/planes/x") }), "noent granted")
		if _, err := os.Stat(w.at("sub/kept/new")); err == nil {
			t.Error("it was written")
		}
	}
}
