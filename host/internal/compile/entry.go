package compile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/agenthost/agenthost/host/internal/cache"
)

// entryVersion is the number of what an entry is.
const entryVersion = 4

// An entry of the cache is a line of JSON, the answer of the child, and the
// outline of the metered module. It names the file with the module's native
// code: the host loads a module only while that is there.
type entry struct {
	answer
	outline []byte
}

// answer is what the child says of a module.
type answer struct {
	Stage      string `json:"stage,omitempty"` // why there is none: a stage, or stageHost
	Reason     string `json:"reason,omitempty"`
	Size       int    `json:"size"`   // of the outline
	CRC32C     uint32 `json:"crc32c"` // of the outline: finds damage, not malice
	Native     string `json:"native"` // the file with its native code
	NativeSize int64  `json:"native_size"`
}

var errBroken = errors.New("it is not what was written")

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// parse takes an answer apart, and checks that the outline that follows it is
// the one it speaks of.
func parse(data []byte) (answer, []byte, error) {
	line, outline, whole := bytes.Cut(data, []byte{'\n'})
	var a answer
	if !whole || json.Unmarshal(line, &a) != nil {
		return a, nil, errBroken
	}
	if a.Stage == "" && (len(outline) != a.Size || checksum(outline) != a.CRC32C || !filepath.IsLocal(a.Native)) {
		return a, nil, errBroken
	}
	return a, outline, nil
}

func (c *Cache) entryPath(key string) string { return filepath.Join(c.dir, modulesDir, key) }

// load returns an entry, nil if there is no whole one.
func (c *Cache) load(key string) (*entry, error) {
	path := c.entryPath(key)
	data, err := cache.ReadEntry(path)
	if errors.Is(err, fs.ErrNotExist) || cache.IsForeign(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	a, outline, err := parse(data)
	if err != nil || a.Stage != "" {
		return nil, nil // a crash left it so: it is made anew
	}
	native, err := os.Lstat(filepath.Join(c.dir, nativeDir, a.Native))
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!native.Mode().IsRegular() || native.Size() != a.NativeSize) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	if info, err := os.Lstat(path); err == nil {
		cache.Used(path, info, time.Now())
	}
	return &entry{a, outline}, nil
}

// keep moves native code from the folder in which the child filed it to where
// it is looked up, and then writes the entry.
func (c *Cache) keep(key, made, native string, data []byte) error {
	to := filepath.Join(c.dir, nativeDir, native)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(made, native), to); err != nil {
		return err
	}
	return cache.Store(c.entryPath(key), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// filesIn returns the names of the files in a folder and those beneath it.
func filesIn(dir string) (names []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, name)
		return err
	})
	return names, err
}
