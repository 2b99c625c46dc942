package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// frozen are the packages others build on: their documentation, whole, is
// testdata/api. A difference is a change of the API: make golden accepts it.
var frozen = []string{"abi", "capability", "ledger", "host", "guest-sdk/go"}

func TestAPI(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, room := range frozen {
		cmd := exec.Command("go", "doc", "-all", "./"+room)
		cmd.Dir = root
		// What is documented must not depend on where the test runs.
		cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
		if room == "guest-sdk/go" {
			cmd.Env = append(cmd.Env, "GOOS=wasip1", "GOARCH=wasm")
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		got, err := cmd.Output()
		if err != nil {
			t.Fatalf("go doc ./%s: %v\n%s", room, err, &stderr)
		}
		golden := filepath.Join(root, "testdata", "api", strings.ReplaceAll(room, "/", "-")+".txt")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("the API of %s is not what %s says: line %d is %q; if that is meant, make golden and read the diff",
				room, golden, firstDifference(got, want), lineAt(got, firstDifference(got, want)))
		}
	}
}

// firstDifference is the number of the first line that differs.
func firstDifference(a, b []byte) int {
	for n := 1; ; n++ {
		if lineAt(a, n) != lineAt(b, n) {
			return n
		}
	}
}

// lineAt is line n of text, the end of the text where it has fewer.
func lineAt(text []byte, n int) string {
	lines := strings.SplitAfter(string(text), "\n")
	if n > len(lines) {
		return "end of text"
	}
	return lines[n-1]
}
