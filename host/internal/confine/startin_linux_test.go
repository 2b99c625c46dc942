package confine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// where says in which groups this thread is.
func where() string {
	data, err := os.ReadFile("/proc/thread-self/cgroup")
	return string(data) + errorText(err)
}

func errorText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// TestStartIn holds that what a thread starts in a group is in it from its
// beginning, and that the thread comes back, whatever becomes of the start.
func TestStartIn(t *testing.T) {
	home := where()
	for _, tt := range []struct {
		name    string
		before  func(g *group)
		fails   error
		entered bool
	}{
		{name: "all is well", before: func(*group) {}, entered: true},
		{name: "nothing starts", before: func(*group) {}, fails: errors.New("no"), entered: true},
		{name: "the last group is gone", before: func(g *group) { _ = unix.Rmdir(g.dirs[len(g.dirs)-1]) }},
		{name: "there is no way back", before: func(g *group) { g.dirs[0] = "/nowhere/" + filepath.Base(g.dirs[0]) }},
		{name: "version 2", before: func(g *group) { g.v2 = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGroup(Limits{}.filled())
			if len(g.dirs) == 0 || g.v2 {
				g.close()
				t.Skip("no groups of version 1 can be made here")
			}
			made := slices.Clone(g.dirs)
			tt.before(g)
			calls, in := 0, 0
			onThread(func() {
				if unix.Gettid() == unix.Getpid() {
					t.Error("it is the first thread of the process")
				}
				entered, err := g.startIn(func() error {
					calls++
					now := where()
					for _, dir := range made {
						if strings.Contains(now, filepath.Base(dir)) {
							in++
						}
					}
					return tt.fails
				})
				if err != tt.fails || entered != tt.entered || calls != 1 {
					t.Errorf("got %v, %v after %d calls, want %v, %v after one", entered, err, calls, tt.entered, tt.fails)
				}
				if now := where(); now != home {
					t.Errorf("the thread is in\n%swas in\n%s", now, home)
				}
			})
			if want := len(made); tt.entered && in != want || !tt.entered && in != 0 {
				t.Errorf("it was started in %d of %d groups", in, want)
			}
			g.dirs = made
			g.close()
		})
	}
}
