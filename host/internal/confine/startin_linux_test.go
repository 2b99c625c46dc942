package confine

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStartIn holds that what a thread starts in a group is in it from its
// beginning, and that the thread comes back, whatever becomes of the start.
func TestStartIn(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	where := func() string {
		data, err := os.ReadFile("/proc/thread-self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	home := where()
	for _, tt := range []struct {
		name    string
		before  func(g *group)
		fails   error
		entered bool
		calls   int
	}{
		{name: "all is well", before: func(*group) {}, entered: true, calls: 1},
		{name: "nothing starts", before: func(*group) {}, fails: errors.New("no"), entered: true, calls: 1},
		{name: "the last group is gone", before: func(g *group) { unix.Rmdir(g.dirs[len(g.dirs)-1]) }, calls: 1},
		{name: "there is no way back", before: func(g *group) { g.dirs[0] = "/nowhere/" + filepath.Base(g.dirs[0]) }, calls: 1},
		{name: "version 2", before: func(g *group) { g.v2 = true }, calls: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A thread is locked to the goroutine that runs the test.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			g := newGroup(Limits{}.filled())
			if len(g.dirs) == 0 || g.v2 {
				t.Skip("no groups of version 1 can be made here")
			}
			made := *g
			defer func() { g.dirs = made.dirs; g.close() }()
			g.dirs = append([]string(nil), made.dirs...)
			tt.before(g)
			calls, in := 0, 0
			entered, err := g.startIn(func() error {
				calls++
				now := where()
				for _, dir := range made.dirs {
					if strings.Contains(now, filepath.Base(dir)) {
						in++
					}
				}
				return tt.fails
			})
			if err != tt.fails || entered != tt.entered || calls != tt.calls {
				t.Errorf("got %v, %v after %d calls, want %v, %v after %d", entered, err, calls, tt.entered, tt.fails, tt.calls)
			}
			if want := len(made.dirs); entered && in != want || !entered && in != 0 {
				t.Errorf("it was started in %d of %d groups", in, want)
			}
			if now := where(); now != home {
				t.Errorf("the thread is in\n%swas in\n%s", now, home)
			}
		})
	}
}
