//go:build linux

package gate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate/gatetest"
	"github.com/agenthost/agenthost/ledger"
)

func sumOf(content string) ledger.Hash { return ledger.Sum([]byte(content)) }

// shelf is a folder of files whose digests are asked for.
type shelf struct {
	t   *testing.T
	dir string
	d   *beneath.Dir
}

func newShelf(t *testing.T, files map[string]string) *shelf {
	s := &shelf{t, filepath.Join(t.TempDir(), "d"), nil}
	s.d = gatetest.Folder(t, s.dir)
	for name, content := range files {
		s.put(name, content)
	}
	return s
}

func (s *shelf) put(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// oneMount is a mount that can be told from all others.
const oneMount = 1<<40 + 7

func (s *shelf) subject(name string) *subject {
	s.t.Helper()
	info, err := s.d.Stat(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return &subject{dir: s.d, rel: name, info: info, mount: oneMount}
}

func TestDigests(t *testing.T) {
	s := newShelf(t, map[string]string{"a": "aaa", "b": "", "c": "ccc"})
	later := time.Duration(0)
	now := func() time.Time { return time.Now().Add(later) }
	d := NewDigests(now)
	take := func(name string) *subject {
		t.Helper()
		x := s.subject(name)
		d.take(context.Background(), []*subject{x})
		if x.err != nil {
			t.Fatal(x.err)
		}
		return x
	}
	known := func(name string) bool { _, ok := d.find(s.subject(name).info, oneMount); return ok }
	for name, content := range map[string]string{"a": "aaa", "b": ""} {
		if got := take(name).sum; got != sumOf(content) {
			t.Errorf("%s: got %s", name, got)
		}
		if known(name) {
			t.Errorf("%s was changed just now, and its digest is remembered", name)
		}
	}
	later = settled + time.Second
	if take("a"); !known("a") || known("b") {
		t.Errorf("known: a %v, b %v, want true, false", known("a"), known("b"))
	}
	later = -time.Hour // a file of the future
	if take("b"); known("b") {
		t.Error("a file of the future is remembered")
	}
	later = settled + time.Second

	// What is known is not opened again: nobody reads what is not there.
	x := s.subject("a")
	x.rel = "gone"
	if d.take(context.Background(), []*subject{x}); x.err != nil || x.sum != sumOf("aaa") {
		t.Errorf("a known file: %s, %v", x.sum, x.err)
	}
	for what, change := range map[string]func(i *beneath.Info){
		"device":            func(i *beneath.Info) { i.Dev++ },
		"inode":             func(i *beneath.Info) { i.Ino++ },
		"size":              func(i *beneath.Info) { i.Size++ },
		"time of content":   func(i *beneath.Info) { i.Mtime = i.Mtime.Add(1) },
		"time of the inode": func(i *beneath.Info) { i.Ctime = i.Ctime.Add(-1) },
	} {
		info := s.subject("a").info
		if change(&info); func() bool { _, ok := d.find(info, oneMount); return ok }() {
			t.Errorf("another %s, and the digest is known", what)
		}
	}
	if _, ok := d.find(beneath.Info{Mtime: time.Unix(0, 0), Ctime: time.Unix(0, 0)}, 0); ok {
		t.Error("an empty file of 1970 is known, which nobody asked for")
	}
}

// TestDigestsMoved: a file that is not what was examined has no digest.
func TestDigestsMoved(t *testing.T) {
	for what, change := range map[string]func(s *shelf){
		"written":             func(s *shelf) { s.put("a", "AAA") },
		"truncated":           func(s *shelf) { s.put("a", "") },
		"grown":               func(s *shelf) { s.put("a", "aaaa") },
		"removed":             func(s *shelf) { os.Remove(filepath.Join(s.dir, "a")) },
		"replaced":            func(s *shelf) { s.put("b", "aaa"); os.Rename(filepath.Join(s.dir, "b"), filepath.Join(s.dir, "a")) },
		"linked":              func(s *shelf) { os.Link(filepath.Join(s.dir, "a"), filepath.Join(s.dir, "b")) },
		"with another mode":   func(s *shelf) { os.Chmod(filepath.Join(s.dir, "a"), 0o600) },
		"replaced by a link":  func(s *shelf) { os.Remove(filepath.Join(s.dir, "a")); os.Symlink("c", filepath.Join(s.dir, "a")) },
		"replaced by folders": func(s *shelf) { os.Remove(filepath.Join(s.dir, "a")); os.Mkdir(filepath.Join(s.dir, "a"), 0o755) },
	} {
		s := newShelf(t, map[string]string{"a": "aaa", "c": "aaa"})
		x := s.subject("a")
		tick(&world{t: t, stages: s.dir})
		change(s)
		d := NewDigests(func() time.Time { return time.Now().Add(time.Hour) })
		if d.take(context.Background(), []*subject{x}); !errors.Is(x.err, errMoved) {
			t.Errorf("%s: got %v, %v", what, x.sum, x.err)
		}
		if len(d.young) != 0 {
			t.Errorf("%s: it is remembered", what)
		}
	}
}

func TestDigestsBounded(t *testing.T) {
	d := NewDigests(time.Now)
	d.most = 10
	at := func(i int) beneath.Info {
		return beneath.Info{Ino: uint64(i), Mtime: time.Unix(1, 0), Ctime: time.Unix(1, 0)}
	}
	for i := range 100 {
		d.keep(at(i), 0, ledger.Hash{byte(i)}, time.Now())
		if sum, ok := d.find(at(3), 0); i >= 3 && (!ok || sum != ledger.Hash{3}) {
			t.Fatalf("after %d files one that is asked for all the time is forgotten", i)
		}
		if n := len(d.young) + len(d.old); n > 20 {
			t.Fatalf("%d digests are kept", n)
		}
	}
	if _, ok := d.find(at(50), 0); ok {
		t.Error("one that nobody asked for is not forgotten")
	}
}

func TestDigestsStops(t *testing.T) {
	s := newShelf(t, map[string]string{"a": "a"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	x := s.subject("a")
	if NewDigests(time.Now).take(ctx, []*subject{x}); !errors.Is(x.err, context.Canceled) {
		t.Errorf("got %v", x.err)
	}
}

func TestDigestsConcurrent(t *testing.T) {
	s := newShelf(t, map[string]string{"a": "a", "b": "bb", "c": "ccc"})
	d := NewDigests(func() time.Time { return time.Now().Add(time.Hour) })
	d.most = 2
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				files := []*subject{s.subject("a"), s.subject("b"), s.subject("c")}
				d.take(context.Background(), files)
				for i, want := range []string{"a", "bb", "ccc"} {
					if files[i].err != nil || files[i].sum != sumOf(want) {
						t.Errorf("%s: got %s, %v", want, files[i].sum, files[i].err)
					}
				}
			}
		})
	}
	all.Wait()
}

// TestViewHashesOnce counts what is hashed for the views of a turn's commands: each
// file once, and again only the one that changed.
func TestViewHashesOnce(t *testing.T) {
	w := commanding(t, repository(1000))
	var hashed atomic.Int64
	w.cfg.Commands.Digests = NewDigests(func() time.Time { hashed.Add(1); return time.Now().Add(time.Hour) })
	files := w.view().files
	if got := hashed.Load(); files < 1000 || got != files {
		t.Errorf("%d files were hashed for the first command, which sees %d", got, files)
	}
	if w.view(); hashed.Load() != files {
		t.Errorf("%d files were hashed for the second command", hashed.Load()-files)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "README"), []byte("R"), 0o644); err != nil {
		t.Fatal(err)
	}
	if w.view(); hashed.Load() != files+1 {
		t.Errorf("%d files were hashed after one was changed", hashed.Load()-files)
	}
}
