package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptBuild builds the agent in a folder of this tree as make guests does, and
// puts its manifest, if it has one, beside the module.
func scriptBuild(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: build DIR FILE")
	}
	source, file := filepath.Join("..", "..", filepath.FromSlash(args[0])), ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	in, err := filepath.Glob(filepath.Join(source, "*.c"))
	ts.Check(err)
	if len(in) == 0 {
		goBuild(ts, file, ".", source)
	} else {
		cc, err := wasiCC()
		ts.Check(err)
		if out, err := exec.Command(cc, append(in, "--target=wasm32-wasi", "-O2", "-s", "-o", file)...).CombinedOutput(); err != nil {
			ts.Fatalf("%s: %v: %s", cc, err, out)
		}
	}
	if manifest, err := os.ReadFile(filepath.Join(source, "manifest.json")); err == nil {
		ts.Check(os.WriteFile(filepath.Join(filepath.Dir(file), "manifest.json"), manifest, 0o644))
	}
}

// scriptProgram builds a program of one file for this machine, as an author does
// who ships it in a package.
func scriptProgram(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: program FILE.go FILE")
	}
	file := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, ts.MkAbs(args[0]))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}

// scriptDocumented makes the agent of the package documentation of guest-sdk/go,
// manifest and all, in a folder, so that what authors copy is what the tests run.
func scriptDocumented(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: documented DIR")
	}
	sdk := filepath.Join("..", "..", "guest-sdk", "go")
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(sdk, "agent.go"), nil, parser.PackageClauseOnly|parser.ParseComments)
	ts.Check(err)
	code := func(begins, ends string) []byte {
		_, text, _ := strings.Cut(parsed.Doc.Text(), "\n\n\t"+begins+"\n")
		text, _, found := strings.Cut(text, "\n\t"+ends+"\n")
		if !found {
			ts.Fatalf("the documentation has no code from %q to %q", begins, ends)
		}
		return []byte(strings.ReplaceAll(begins+"\n\t"+text+"\n\t"+ends+"\n", "\n\t", "\n"))
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(os.WriteFile(filepath.Join(dir, "main.go"), code("package main", "}"), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "manifest.json"), code("{", "}"), 0o644))
	goBuild(ts, filepath.Join(dir, "agent.wasm"), filepath.Join(dir, "main.go"), sdk)
}

func goBuild(ts *testscript.TestScript, file, what, dir string) {
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, what)
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}

// wasiCC names the clang that builds agents in C.
var wasiCC = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("sh", filepath.Join("..", "..", "examples", "wasi-cc.sh")).Output()
	if err != nil {
		return "", fmt.Errorf("find a clang that builds for WASI: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})
