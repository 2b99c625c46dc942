package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/ledger"
)

// A lab is what the rows measure with. Whatever takes long to make is made when
// a row first asks for it.
type lab struct {
	ctx context.Context
	dir string // for all files; removed at the end
	// elsewhere are folders that are removed too.
	elsewhere []string
	rounds    int
	say       func(format string, args ...any) // progress

	moduleRoot func() (string, error) // of agenthost
	agenthost  func() (string, error) // the program
	wazeroCLI  func() (string, error)
	wasmtime   func() (built, error)
	goGuest    func() ([]byte, error)
	execGuest  func() ([]byte, error)
	cGuest     func() (small, error)
	workspace  func() (string, error) // with the files that guests read
	runner     func() (*host.Runner, error)
	plainCache func() (wazero.CompilationCache, error)

	grantings map[string]granting // that were made
}

// small is the small guest, and what made it.
type small struct {
	wasm   []byte // nil: there is no C compiler, assemble by hand
	maker  string
	reason string // why there is none
}

func newLab(ctx context.Context, dir string, rounds int, say func(string, ...any)) *lab {
	l := &lab{ctx: ctx, dir: dir, rounds: rounds, say: say, grantings: map[string]granting{}}
	l.moduleRoot = sync.OnceValues(func() (string, error) {
		return output("", nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/agenthost/agenthost")
	})
	l.agenthost = sync.OnceValues(func() (string, error) {
		root, err := l.moduleRoot()
		if err != nil {
			return "", err
		}
		return l.build(root, "./cmd/agenthost", "agenthost", nil)
	})
	l.wazeroCLI = sync.OnceValues(func() (string, error) {
		return l.build("", "github.com/tetratelabs/wazero/cmd/wazero", "wazero", nil)
	})
	l.wasmtime = sync.OnceValues(l.buildWasmtime)
	l.goGuest = sync.OnceValues(func() ([]byte, error) { return l.buildGuest("agent") })
	l.execGuest = sync.OnceValues(func() ([]byte, error) { return l.buildGuest("exec") })
	l.cGuest = sync.OnceValues(l.buildC)
	l.workspace = sync.OnceValues(l.makeWorkspace)
	l.runner = sync.OnceValues(l.newRunner)
	l.plainCache = sync.OnceValues(func() (wazero.CompilationCache, error) {
		return wazero.NewCompilationCacheWithDir(l.wazeroCache())
	})
	return l
}

// cache stands in for the user's cache folder.
func (l *lab) cache() string { return l.path("cache") }

func (l *lab) wazeroCache() string { return l.path("wazero-cache") }

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// config is the folder of the lab's host key: what is measured signs with a key of
// its own.
func (l *lab) config() string { return l.path("config") }

// hostKey is the key in it.
func (l *lab) hostKey() (*ledger.Key, error) { return hostkey.Load(l.config(), rand.Reader) }

// build builds a Go program and returns its path.
func (l *lab) build(dir, pkg, name string, env []string) (string, error) {
	l.say("building %s", name)
	path := l.path(name)
	_, err := output(dir, env, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
	return path, err
}

// buildGuest builds a Go guest.
func (l *lab) buildGuest(name string) ([]byte, error) {
	path, err := l.build("", "./guests/"+name, name+".wasm", []string{"GOOS=wasip1", "GOARCH=wasm"})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// newRunner makes one that knows nothing but what is compiled. It is not closed:
// the next one would know the digests of what commands saw.
func (l *lab) newRunner() (*host.Runner, error) {
	return host.NewRunner(l.ctx, host.Config{CacheDir: filepath.Join(l.cache(), "agenthost")})
}

// put writes a file, and makes the folder it lies in.
func put(dir, name, content string) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// compilers of C, in the order in which they are tried after $CLANG.
var compilers = []string{"clang", "clang-22", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"}

// buildC builds the C guest. That this cannot be done is not an error: the small
// guest is assembled by hand then.
func (l *lab) buildC() (small, error) {
	candidates := compilers
	if given := os.Getenv("CLANG"); given != "" {
		candidates = []string{given}
	}
	reason := "clang is not installed"
	for _, name := range candidates {
		clang, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		version, err := output("", nil, clang, "--version")
		if err != nil {
			return small{}, err
		}
		l.say("building agent-c.wasm")
		path := l.path("agent-c.wasm")
		if _, err := output("", nil, clang, "--target=wasm32-wasi", "-O2", "-s", "guests/agent.c", "-o", path); err != nil {
			reason = name + " cannot build for wasm32-wasi (wasi-libc and lld are needed)"
			continue
		}
		wasm, err := os.ReadFile(path)
		version, _, _ = strings.Cut(version, "\n")
		return small{wasm: wasm, maker: version}, err
	}
	return small{maker: "assembled by hand", reason: reason}, nil
}

// Files in the workspace.
const (
	files   = 10_000
	bigSize = 256 << 20
)

// makeWorkspace makes the files that guests read: 10,000 of 1 KiB in 100
// folders.
func (l *lab) makeWorkspace() (string, error) {
	l.say("writing %d files", files)
	dir := l.path("workspace")
	block := make([]byte, 1024)
	for i := range files {
		folder := filepath.Join(dir, "docs", fmt.Sprintf("%02d", i%100))
		if i < 100 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return "", err
			}
		}
		copy(block, fmt.Sprintf("file %d\n", i))
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%05d.txt", i)), block, 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// bigFile adds one file of 256 MiB to the workspace and returns its path.
func (l *lab) bigFile() (string, error) {
	dir, err := l.workspace()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "big.bin")
	l.say("writing a file of 256 MiB")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	block := make([]byte, 1<<20)
	for i := range bigSize >> 20 {
		copy(block, fmt.Sprintf("block %d\n", i))
		if _, err := f.Write(block); err != nil {
			return "", errors.Join(err, f.Close())
		}
	}
	return path, f.Close()
}

// memory is a folder whose files lie in memory, where a flush costs nothing, or
// false where there is none.
func (l *lab) memory() (string, bool) {
	dir, err := os.MkdirTemp("/dev/shm", "agenthost-bench-")
	if err != nil {
		return "", false
	}
	l.elsewhere = append(l.elsewhere, dir)
	return dir, true
}

// close removes what lies outside the lab's folder.
func (l *lab) close() {
	for _, dir := range l.elsewhere {
		os.RemoveAll(dir)
	}
}

// output runs a command and returns what it prints, without the end of the line.
func output(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// versionOf is the version of a module this program was built with.
func versionOf(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return ""
}
