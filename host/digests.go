package host

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/host/internal/gate"
)

// digestsPart is the part of the cache that keeps the digests of files that
// commands could see, and digestsFile its only file.
const (
	digestsPart = "digests"
	digestsFile = "1"
)

// seenDigests are the digests that are known. The first call reads those that
// another process kept: what cannot be read is taken again.
func (r *Runner) seenDigests() (*gate.Digests, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.digests != nil {
		return r.digests, nil
	}
	dir, err := r.cfg.cacheDir()
	if err != nil {
		return nil, err
	}
	if err := cache.Open(dir, digestsPart); err != nil {
		return nil, err
	}
	r.digests = gate.NewDigests(time.Now)
	data, err := cache.ReadEntry(filepath.Join(dir, digestsPart, digestsFile))
	if boot, known := bootID(); err == nil && known {
		if data, now := bytes.CutPrefix(data, boot); now {
			r.digests.Decode(data)
		}
	}
	return r.digests, nil
}

// keepDigests keeps what was learned, for the next process. Of several at a time
// the last one counts. What cannot be kept is taken again: that is no failure of
// the turns that ran.
func (r *Runner) keepDigests() {
	if r.digests == nil || !r.digests.Changed() {
		return
	}
	dir, err := r.cfg.cacheDir()
	boot, known := bootID()
	if err != nil || !known {
		return
	}
	_ = cache.Store(filepath.Join(dir, digestsPart, digestsFile), func(w io.Writer) error {
		if _, err := w.Write(boot); err != nil {
			return err
		}
		return r.digests.Encode(w)
	})
}

// bootID is a line that this machine has not had before it was started: what is kept
// holds for as long, since the numbers of files and mounts do.
func bootID() (line []byte, known bool) {
	line, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return line, err == nil && len(line) > 0
}

// cleanDigests removes what was kept, if it was last changed before, and returns
// how many bytes that freed.
func cleanDigests(dir string, unused func(time.Time) bool, now time.Time) (freed int64, err error) {
	part := filepath.Join(dir, digestsPart)
	freed, err = cache.Sweep(part, now)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	kept := filepath.Join(part, digestsFile)
	info, e := os.Lstat(kept)
	if err != nil || e != nil || !unused(info.ModTime()) {
		return freed, err
	}
	size := cache.SizeOf(kept)
	if err := os.Remove(kept); err != nil {
		return freed, err
	}
	return freed + size, nil
}
