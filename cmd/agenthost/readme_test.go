package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptReadme takes an example out of README.md, so that what newcomers copy is
// what the tests run. A Go program is built as README says, to agent.wasm.
func scriptReadme(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: readme LANGUAGE FILE")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	ts.Check(err)
	_, block, found := strings.Cut(string(text), "```"+args[0]+"\n")
	if !found {
		ts.Fatalf("README.md has no block of %s", args[0])
	}
	block, _, _ = strings.Cut(block, "```")
	file := ts.MkAbs(args[1])
	ts.Check(os.WriteFile(file, []byte(block), 0o644))
	if args[0] != "go" {
		return
	}
	build := exec.Command("go", "build", "-o", "agent.wasm", filepath.Base(file))
	build.Dir = filepath.Dir(file)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}
