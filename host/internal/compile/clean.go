package compile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/internal/cache"
)

// Clean removes from a folder the modules that drop says, by digest and by when
// they last were of use, those that this version cannot read, and what was left
// half made. It returns how many modules that were, and how many bytes it freed.
//
// It is safe beside processes that use the cache: what they have loaded stays
// loaded, and what they look for in vain they make anew.
func Clean(dir string, drop func(sum [32]byte, used time.Time) bool) (modules int, freed int64, err error) {
	if err := cache.Open(dir, modulesDir, nativeDir); err != nil {
		return 0, 0, err
	}
	for _, part := range []string{modulesDir, nativeDir} {
		n, err := cache.Sweep(filepath.Join(dir, part), time.Now())
		if freed += n; err != nil {
			return 0, freed, err
		}
	}
	remove := func(path string, info fs.FileInfo) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean the cache: %w", err)
		}
		freed += info.Size()
		return nil
	}
	wanted := map[string]bool{} // native code of the modules that stay
	dropped := map[string]bool{}
	err = files(filepath.Join(dir, modulesDir), func(name string, info fs.FileInfo) error {
		path := filepath.Join(dir, modulesDir, name)
		sum, a, ok := readEntry(path, name)
		if ok && !drop(sum, info.ModTime()) {
			wanted[a.Native] = true
			return nil
		}
		modules++
		dropped[a.Native] = true
		return remove(path, info)
	})
	if err != nil {
		return modules, freed, err
	}
	// Native code is filed before its entry is: what is new may get one yet, which
	// would be made anew without it.
	old := time.Now().Add(-time.Hour)
	err = files(filepath.Join(dir, nativeDir), func(name string, info fs.FileInfo) error {
		if wanted[name] || len(wanted) > 0 && !dropped[name] && info.ModTime().After(old) {
			return nil
		}
		return remove(filepath.Join(dir, nativeDir, name), info)
	})
	return modules, freed, err
}

// readEntry reads what an entry says of itself; false for one this version
// cannot read.
func readEntry(path, name string) (sum [32]byte, a answer, ok bool) {
	data, err := cache.ReadEntry(path)
	if err != nil {
		return sum, a, false
	}
	a, _, err = parse(data)
	digits, _, _ := strings.Cut(name, "-")
	n, decoded := hex.Decode(sum[:], []byte(digits[:min(len(digits), 2*len(sum))]))
	return sum, a, err == nil && decoded == nil && n == len(sum) && a.Native != ""
}

// files calls f with the files of a folder and those beneath it, but for what is
// being made.
func files(dir string, f func(name string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return fmt.Errorf("read the cache: %w", err)
		case strings.HasPrefix(d.Name(), cache.NewPrefix) && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), cache.NewPrefix) || d.IsDir():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return f(name, info)
	})
}
