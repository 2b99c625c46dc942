package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/agenthost/agenthost/"

// mayImport says which of our rooms each room may import. It is policy, not a
// record of what happens to be so.
var mayImport = map[string][]string{
	"abi":                               {},
	"capability":                        {},
	"ledger":                            {},
	"ledger/ledgertest":                 {"ledger"},
	"host/internal/meter":               {},
	"host/internal/beneath":             {},
	"host/internal/cache":               {},
	"host/internal/confine":             {},
	"host/internal/confine/confinetest": {},
	"host/internal/durable":             {"host/internal/beneath"},
	"host/internal/durable/synctest":    {},
	"host/internal/strict":              {},
	"guest-sdk/go":                      {},
	"host/record":                       {"capability", "ledger"},
	"host/archive":                      {"abi", "capability", "ledger", "host/internal/cache", "host/internal/meter", "host/internal/strict"},
	"host/policy":                       {"capability", "ledger", "host/archive"},
	"host/redact":                       {},
	"host/session":                      {"capability", "ledger", "host/record", "host/redact", "host/register", "host/internal/beneath", "host/internal/durable"},
	"host/register":                     {"ledger", "host/record", "host/internal/beneath", "host/internal/durable"},
	"host/plane":                        {"capability", "ledger", "host/archive", "host/policy", "host/record", "host/register", "host/session", "host/internal/beneath", "host/internal/durable", "host/internal/strict"},
	"host/audit": {
		"capability", "ledger", "host/archive", "host/plane", "host/policy", "host/record", "host/register", "host/session",
		"host/internal/beneath", "host/internal/cache", "host/internal/strict",
	},
	"host/audit/audittest":        {"ledger", "host/record", "host/session"},
	"host/internal/gate":          {"abi", "capability", "ledger", "host/archive", "host/record", "host/session", "host/internal/beneath", "host/internal/confine"},
	"host/internal/gate/gatetest": {"ledger", "ledger/ledgertest", "host/internal/beneath"},
	"host/internal/govfs":         {"abi", "host/record", "host/internal/gate", "host/internal/hostcall"},
	"host/internal/hostcall":      {"abi", "capability", "ledger", "host/record", "host/internal/gate", "host/internal/strict"},
	"host/hostkey":                {"ledger", "host/internal/beneath", "host/internal/durable"},
	"host/internal/compile":       {"host/internal/cache", "host/internal/meter"},
	"host": {
		"abi", "capability", "ledger", "host/archive", "host/policy", "host/record", "host/redact", "host/session",
		"host/internal/beneath", "host/internal/cache", "host/internal/compile", "host/internal/confine", "host/internal/gate",
		"host/internal/govfs", "host/internal/hostcall", "host/internal/meter",
	},
	"cmd/agenthost": {"abi", "capability", "ledger", "host", "host/archive", "host/audit", "host/hostkey", "host/plane", "host/policy", "host/record", "host/redact", "host/session"},
}

// doors says which rooms may import a module that is not ours: what one knows of
// it, the others need not.
var doors = map[string][]string{
	"github.com/tetratelabs/wazero":    {"host", "host/internal/compile", "host/internal/govfs", "host/internal/hostcall"},
	"github.com/bmatcuk/doublestar/v4": {"capability"},
	"github.com/urfave/cli/v2":         {"cmd/agenthost"},
	"github.com/google/jsonschema-go":  {"cmd/agenthost"},
	"golang.org/x/term":                {"cmd/agenthost"},
	"golang.org/x/mod":                 {"ledger"},
	"golang.org/x/mod/sumdb/note":      {"host/archive", "ledger"},
	"golang.org/x/sys":                 {"host/internal/beneath", "host/internal/compile", "host/internal/confine", "host/internal/durable/synctest"},
	"github.com/rogpeppe/go-internal":  {},
	// The rest of that module is for tests.
	"github.com/rogpeppe/go-internal/diff": {"cmd/agenthost"},
}

// testDoors are further doors, for tests only.
var testDoors = map[string][]string{
	"github.com/rogpeppe/go-internal": {"cmd/agenthost"},
	"github.com/tetratelabs/wazero":   {"host/archive", "host/internal/meter"},
	"golang.org/x/sys":                {"host/session"},
}

// TestImports holds both tables on every platform that must build.
func TestImports(t *testing.T) {
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64", "wasip1/wasm"} {
		goos, goarch, _ := strings.Cut(platform, "/")
		cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", modulePath+"...")
		cmd.Env = append(cmd.Environ(), "GOOS="+goos, "GOARCH="+goarch)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for dec := json.NewDecoder(out); ; {
			var p struct {
				ImportPath                         string
				Imports, TestImports, XTestImports []string
			}
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			checkImports(t, platform, strings.TrimPrefix(p.ImportPath, modulePath), p.Imports, append(p.TestImports, p.XTestImports...))
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkImports(t *testing.T, platform, room string, imports, testImports []string) {
	rooms, known := mayImport[room]
	if strings.HasPrefix(room, "examples/") {
		rooms, known = []string{"guest-sdk/go"}, true // an agent is a program of its own
	}
	if !known {
		t.Errorf("%s is not in the table: decide what it may import", room)
		return
	}
	for _, i := range imports {
		if ours, ok := strings.CutPrefix(i, modulePath); ok && !slices.Contains(rooms, ours) {
			t.Errorf("%s: %s must not import %s", platform, room, ours)
		}
		if door, ok := doorOf(i); ok && !slices.Contains(doors[door], room) {
			t.Errorf("%s: %s must not import %s", platform, room, i)
		}
	}
	for _, i := range testImports {
		if door, ok := doorOf(i); ok && !slices.Contains(doors[door], room) && !slices.Contains(testDoors[door], room) {
			t.Errorf("%s: the tests of %s must not import %s", platform, room, i)
		}
	}
}

// doorOf finds the module an import belongs to; false for ours and the standard
// library's. A module without a door gets the import itself as its name, and so
// has no room that may use it. Of two doors the one that says more counts.
func doorOf(imported string) (string, bool) {
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || strings.HasPrefix(imported, modulePath) {
		return "", false
	}
	door := ""
	for module := range doors {
		if (imported == module || strings.HasPrefix(imported, module+"/")) && len(module) > len(door) {
			door = module
		}
	}
	return cmp.Or(door, imported), true
}
