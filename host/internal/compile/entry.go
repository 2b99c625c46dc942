package compile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// An entry of the cache is a line of JSON, the answer of the child, and the
// metered module. It names the files with the module's native code: the host
// loads a module only while they are there, because wazero would compile it
// anew otherwise, in the host and without bounds.

// answer is what the child says of a module.
type answer struct {
	Stage  string   `json:"stage,omitempty"` // why there is none: a stage, or stageHost
	Reason string   `json:"reason,omitempty"`
	Size   int      `json:"size"`   // of the metered module
	SHA256 string   `json:"sha256"` // of the metered module
	Native []string `json:"native"` // files with its native code
}

var errBroken = errors.New("it is not what was written")

// parse takes an answer apart, and checks that the module that follows it is
// the one it speaks of.
func parse(data []byte) (answer, []byte, error) {
	line, module, whole := bytes.Cut(data, []byte{'\n'})
	var a answer
	if !whole || json.Unmarshal(line, &a) != nil {
		return a, nil, errBroken
	}
	sum := sha256.Sum256(module)
	if a.Stage == "" && (len(module) != a.Size || hex.EncodeToString(sum[:]) != a.SHA256 || len(a.Native) == 0 ||
		slices.ContainsFunc(a.Native, func(name string) bool { return !filepath.IsLocal(name) })) {
		return a, nil, errBroken
	}
	return a, module, nil
}

func (c *Cache) entryPath(key string) string { return filepath.Join(c.dir, modulesDir, key) }

// load returns the metered module of an entry, nil if there is no whole one.
func (c *Cache) load(key string) ([]byte, error) {
	data, err := os.ReadFile(c.entryPath(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	a, module, err := parse(data)
	if err != nil {
		return nil, nil // a crash left it so: it is made anew
	}
	for _, name := range a.Native {
		info, err := os.Lstat(filepath.Join(c.dir, nativeDir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the cache: %w", err)
		}
	}
	return module, nil
}

// keep moves native code from the folder in which the child filed it to where
// it is looked up, and then writes the entry.
func (c *Cache) keep(key, made string, native []string, data []byte) error {
	for _, name := range native {
		to := filepath.Join(c.dir, nativeDir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(made, name), to); err != nil {
			return err
		}
	}
	return store(c.entryPath(key), data)
}

// store writes a file whole or not at all.
func store(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), newPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
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
