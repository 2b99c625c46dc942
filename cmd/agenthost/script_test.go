package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agenthost/agenthost/ledger/ledgertest"
)

var update = flag.Bool("update", false, "accept what the commands print now as the golden texts of testdata")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"agenthost": main, "agenthost-at": mainAt, "meanwhile": mainMeanwhile, "fenceless": mainFenceless})
}

// TestScript runs what a person would type, with the words and the exit status
// they would see. Beside the commands of testscript a script has
//
//	exits STATUS CMD ARG…   runs CMD, which must end with STATUS; one that a signal ended has 128 more than the signal
//	snapshot DIR            remembers everything in DIR
//	unchanged DIR           DIR is as it was at the snapshot: names, modes, times, contents
//	flip FILE OFFSET        changes one bit of one byte
//	module FILE [MODULE.FUNCTION…]  writes a WebAssembly command with these imports that does nothing
//	readme LANGUAGE FILE            writes the first block of that language in README.md to FILE
//	agent FILE…             writes the agent of testdata/guests/script, which does what its arguments say
//	build DIR FILE                  builds the agent in that folder of this tree; one in C only where [clang]
//	program FILE.go FILE            builds a program for this machine, linked statically
//	documented DIR                  makes the agent of guest-sdk/go's documentation
//	order ID PKG                    gives a work order for a package in .agenthost
//	digest VAR FILE         sets VAR to the first 12 digits of a package's digest, and VARALL to all
//	json PATH VALUE         standard output is JSON with that value at PATH, such as evidence.hidden.0.path; - if there is none; \n in it is a newline
//	disk DIR OPTIONS        mounts a filesystem of its own in DIR, such as one of size=1m; only where [disk]
//
// and these programs:
//
//	agenthost-at             agenthost, to which $AT says what happens at a step of the commit (see mainAt)
//	fenceless CMD…           runs CMD as on a machine without user namespaces; only where [fence]
//	meanwhile ACTION CMD…    runs CMD, and ACTION in a shell once its guest says ready ($PID is CMD)
func TestScript(t *testing.T) {
	shared := t.TempDir()
	guest := sync.OnceValues(func() (string, error) { return buildGuest(shared) })
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, ".home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(shared, "cache"))
			// Each script is a host of its own, whose key lies beside its workspace.
			config, err := os.MkdirTemp(shared, "config-")
			if err != nil {
				return err
			}
			env.Setenv("XDG_CONFIG_HOME", config)
			ledgers, err := filepath.Abs(filepath.Join("..", "..", "testdata", "ledgers"))
			if err != nil {
				return err
			}
			env.Setenv("LEDGERS", ledgers)
			host, err := ledgertest.Host()
			if err != nil {
				return err
			}
			env.Setenv("LEDGERSHOST", host.Verifier().String())
			env.Values[snapshots{}] = map[string]string{}
			env.Values[guestFile{}] = guest
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      scriptExits,
			"snapshot":   scriptSnapshot,
			"unchanged":  scriptUnchanged,
			"flip":       scriptFlip,
			"module":     scriptModule,
			"agent":      scriptAgent,
			"build":      scriptBuild,
			"program":    scriptProgram,
			"documented": scriptDocumented,
			"order":      scriptOrder,
			"digest":     scriptDigest,
			"readme":     scriptReadme,
			"disk":       scriptDisk,
			"json":       scriptJSON,
		},
		Condition: scriptCondition,
	})
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS CMD ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exitStatus(exit.ProcessState)
	}
	if got != want {
		ts.Fatalf("%s ended with status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// snapshots is the key under which a script keeps what its folders looked like.
type snapshots struct{}

func scriptSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: snapshot DIR")
	}
	ts.Value(snapshots{}).(map[string]string)[args[0]] = describeTree(ts, args[0])
}

func scriptUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unchanged DIR")
	}
	before, ok := ts.Value(snapshots{}).(map[string]string)[args[0]]
	if !ok {
		ts.Fatalf("no snapshot of %s", args[0])
	}
	if after := describeTree(ts, args[0]); after != before {
		ts.Fatalf("%s has changed; before:\n%safter:\n%s", args[0], before, after)
	}
}

func describeTree(ts *testscript.TestScript, dir string) string {
	var b strings.Builder
	top := ts.MkAbs(dir)
	ts.Check(filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".home" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%x", sha256.Sum256(data))
		case info.Mode()&fs.ModeSymlink != 0:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		changed := info.ModTime().UnixNano()
		if d.IsDir() {
			changed = 0 // a temporary file that came and went is no change
		}
		name, err := filepath.Rel(top, path)
		fmt.Fprintf(&b, "%s %s %d %s\n", name, info.Mode(), changed, content)
		return err
	}))
	return b.String()
}

func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	data[offset] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

func scriptModule(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: module FILE [MODULE.FUNCTION…]")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), wasmCommand(args[1:]), 0o644))
}

// wasmCommand is a module that exports one page of memory and _start, which does
// nothing, and imports functions of no parameters and no result.
func wasmCommand(imports []string) []byte {
	section := func(id byte, entries [][]byte) []byte {
		body := []byte{byte(len(entries))}
		for _, e := range entries {
			body = append(body, e...)
		}
		return append([]byte{id, byte(len(body))}, body...)
	}
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	wasm = append(wasm, section(1, [][]byte{{0x60, 0, 0}})...)
	if len(imports) > 0 {
		var entries [][]byte
		for _, i := range imports {
			module, function, _ := strings.Cut(i, ".")
			entries = append(entries, append(append(name(module), name(function)...), 0, 0))
		}
		wasm = append(wasm, section(2, entries)...)
	}
	wasm = append(wasm, section(3, [][]byte{{0}})...)
	wasm = append(wasm, section(5, [][]byte{{0, 1}})...)
	wasm = append(wasm, section(7, [][]byte{
		append(name("memory"), 2, 0),
		append(name("_start"), 0, byte(len(imports))),
	})...)
	return append(wasm, section(10, [][]byte{{2, 0, 0x0b}})...)
}
