package confine

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is the least time between two looks. They take at most a tenth of a
	// processor: where there is much to see, the time between is longer.
	lookEvery = 50 * time.Millisecond
	// clockTick is the unit of processor time in /proc, the same on all machines
	// that Linux runs on today (USER_HZ).
	clockTick = time.Second / 100
	// deepest is how deep folders can lie in one that a command writes.
	deepest = 256
)

// A watcher looks at a tree of processes and at the folders it writes.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{}
	seen   Usage
}

// watch looks at the tree whose first process is pid until it is ended, and calls
// stop with the limit that it finds exceeded. The processes of a namespace are the
// descendants of its first: those whose parent is gone become its children.
func watch(pid int, s *Spec, g *group, stop func(why string)) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{cancel: cancel, done: make(chan struct{}), seen: Usage{Processes: 1}}
	first := readProcess(strconv.Itoa(pid)).started
	go func() {
		defer close(w.done)
		// Most commands are over before the first look.
		for took := time.Duration(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(lookEvery, 10*took)):
			}
			began := time.Now()
			if why := w.look(pid, first, s, g); why != "" {
				stop(why)
				return
			}
			took = time.Since(began)
		}
	}()
	return w
}

// end stops looking and returns what was seen.
func (w *watcher) end() Usage {
	w.cancel()
	<-w.done
	return w.seen
}

// look returns the limit that is exceeded.
func (w *watcher) look(pid int, first string, s *Spec, g *group) string {
	counted := g.memory != ""
	tree := descendants(pid, first)
	var now Usage
	for _, p := range tree {
		now.CPU += p.cpu
	}
	if s.Tier == Landlock && len(tree) > 0 {
		tree = tree[1:] // the supervisor, whose time is that of the children it waited for
	}
	for _, p := range tree {
		if !counted {
			now.Memory += memoryOf(p.id)
		}
	}
	now.Processes = len(tree)
	w.seen.CPU = max(w.seen.CPU, now.CPU)
	w.seen.Memory = max(w.seen.Memory, now.Memory)
	w.seen.Processes = max(w.seen.Processes, now.Processes)
	switch {
	case !counted && now.Memory > s.Limits.Memory, g.outOfMemory():
		return StoppedMemory
	case now.CPU > s.Limits.CPU:
		return StoppedCPU
	}
	return overfull(s, tree, true)
}

// overfull returns the limit that the folders a command writes exceed: with what
// is in them, and what it still has open that was removed from them. While it runs,
// a folder whose rights it took away could hide anything. When it has ended, its
// caller takes them back and counts.
func overfull(s *Spec, tree []process, runs bool) string {
	var sum content
	written := map[uint64]bool{}
	for _, b := range s.Binds {
		if !b.Access.writes() {
			continue
		}
		var st unix.Stat_t
		name := filepath.Join(b.Root, b.Name)
		if err := unix.Stat(name, &st); err != nil {
			continue // the next look, or the commit, will tell
		}
		written[st.Dev] = true
		if why := sum.folder(name, s.Limits, runs); why != "" {
			return why
		}
	}
	for _, p := range tree {
		sum.removed(p.id, written)
	}
	return sum.over(s.Limits)
}

// content is what folders hold.
type content struct {
	files int
	bytes int64
	seen  map[uint64]bool // inodes of removed files
}

func (c *content) over(l Limits) string {
	switch {
	case c.files > l.Files:
		return StoppedFiles
	case c.bytes > l.Bytes:
		return StoppedBytes
	}
	return ""
}

// folder adds what is in a folder, until that is over a limit. Nothing in there is
// followed: what is a folder now may be a link next. What cannot be listed could
// hide anything, and is over all of them: a folder without rights, and one that
// lies deeper than deepest.
func (c *content) folder(name string, l Limits, runs bool) (why string) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.EACCES && runs:
		return StoppedFiles
	case err != nil:
		return "" // the commit will tell
	}
	return c.in(fd, 1, l)
}

// in adds what is in the open folder fd, which it closes. Each folder is opened in
// the one it lies in: by their paths, deep ones would take a time that grows with
// the square of their depth.
func (c *content) in(fd, depth int, l Limits) (why string) {
	dir := os.NewFile(uintptr(fd), "")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue // gone meanwhile
			}
			c.files++
			if st.Mode&unix.S_IFMT == unix.S_IFREG {
				c.bytes += st.Size
			}
			if why := c.over(l); why != "" {
				return why
			}
			if st.Mode&unix.S_IFMT != unix.S_IFDIR {
				continue
			}
			if depth == deepest {
				return StoppedFiles
			}
			sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			switch {
			case err == unix.EACCES:
				return StoppedFiles
			case err != nil:
				continue // gone meanwhile
			}
			if why := c.in(sub, depth+1, l); why != "" {
				return why
			}
		}
		if err != nil {
			return ""
		}
	}
}

// removed adds the files that a process has open though they have no name any more,
// where they lie on a file system that it writes.
func (c *content) removed(process string, written map[uint64]bool) {
	open, err := os.ReadDir("/proc/" + process + "/fd")
	if err != nil {
		return // gone meanwhile
	}
	for _, fd := range open {
		var st unix.Stat_t
		if err := unix.Stat("/proc/"+process+"/fd/"+fd.Name(), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if st.Nlink > 0 || !written[st.Dev] || c.seen[st.Ino] {
			continue
		}
		if c.seen == nil {
			c.seen = map[uint64]bool{}
		}
		c.seen[st.Ino] = true
		c.files++
		c.bytes += st.Size
	}
}

// A process is what /proc says of one.
type process struct {
	id, parent, started, state string
	threads                    int
	cpu                        time.Duration
}

// descendants are the process pid, if it is still the one that started at first,
// and all beneath it.
func descendants(pid int, first string) []process {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[string][]process{}
	var tree []process
	for _, n := range names {
		if n.Name()[0] < '0' || n.Name()[0] > '9' {
			continue
		}
		p := readProcess(n.Name())
		if p.id == strconv.Itoa(pid) && p.started == first {
			tree = append(tree, p)
		}
		children[p.parent] = append(children[p.parent], p)
	}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i].id]...)
	}
	return tree
}

// readProcess reads proc_pid_stat(5); the zero value is for one that is gone. The
// time is a process's own and that of the children it waited for, so that over a
// tree none is counted twice.
func readProcess(id string) process {
	data, err := os.ReadFile("/proc/" + id + "/stat")
	if err != nil {
		return process{}
	}
	// The second field is a name that the process chose.
	_, after, _ := strings.Cut(string(data[max(strings.LastIndexByte(string(data), ')'), 0):]), " ")
	f := strings.Fields(after) // f[0] is field 3
	if len(f) < 20 {
		return process{}
	}
	p := process{id: id, state: f[0], parent: f[1], started: f[19]}
	p.threads, _ = strconv.Atoi(f[17])
	for _, ticks := range f[11:15] {
		n, _ := strconv.ParseInt(ticks, 10, 64)
		p.cpu += time.Duration(n) * clockTick
	}
	return p
}

// memoryOf is what of a process's memory is not backed by a file. Shared memory
// counts in each that maps it.
func memoryOf(id string) int64 {
	data, err := os.ReadFile("/proc/" + id + "/status")
	if err != nil {
		return 0
	}
	var sum int64
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "RssAnon", "RssShmem", "VmSwap":
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			sum += n << 10
		}
	}
	return sum
}
