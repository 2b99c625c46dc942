package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A coldPeer is another program that runs a WASI command.
type coldPeer struct {
	name, version string
	run           command
	absent        string // why it cannot be run, if it cannot
}

const notInstalled = "not installed"

// coldPeers are those that run the module in a file, with everything compiled
// where they can keep that. The first is the one goals are about.
func (l *lab) coldPeers(module string) ([]coldPeer, error) {
	cli, err := l.wazeroCLI()
	if err != nil {
		return nil, err
	}
	peers := []coldPeer{{
		name: "wazero CLI -cachedir", version: versionOf("github.com/tetratelabs/wazero"),
		run: command{name: cli, args: []string{"run", "-cachedir", l.wazeroCache(), module, "hello"}, stdin: request, want: "answer"},
	}}
	compiled := module + ".compiled"
	wasmtime := coldPeer{name: "wasmtime-go, precompiled"}
	program, err := l.wasmtime()
	if err == nil {
		l.say("compiling for wasmtime")
		_, err = output("", nil, program.path, "compile", module, compiled)
	}
	wasmtime.version = program.version
	wasmtime.run = command{name: program.path, args: []string{"run", compiled, "hello"}, stdin: request, want: "answer"}
	if err != nil {
		wasmtime.absent = fmt.Sprintf("%s (%v)", notInstalled, err)
	}
	peers = append(peers, wasmtime)
	script := filepath.Join(filepath.Dir(module), "run.mjs")
	if err := os.WriteFile(script, []byte(nodeScript), 0o644); err != nil {
		return nil, err
	}
	for _, js := range []struct {
		name  string
		flags []string
	}{{"node", []string{"--no-warnings"}}, {"deno", []string{"run", "--allow-all"}}} {
		p := coldPeer{
			name: js.name + " with node:wasi", version: installed(js.name),
			run: command{name: js.name, args: append(js.flags, script, module, "hello"), stdin: request, want: "answer"},
		}
		if p.version == "" {
			p.absent = notInstalled
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// nodeScript runs a WASI command in node, whose preview 1 deno has by the same
// name.
const nodeScript = `import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";
import process from "node:process";
const [file, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args: [file, ...args], env: {} });
const module = await WebAssembly.compile(await readFile(file));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
`

// A built is a program that the bench made, and the version of what is in it.
type built struct{ path, version string }

const wasmtimeModule = "github.com/bytecodealliance/wasmtime-go/v39"

// findWasmtime returns the version of wasmtime that can be built: it is a
// library in C.
func findWasmtime() (string, error) {
	cc, err := output("", nil, "go", "env", "CC")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(cc, " ") // what follows are its flags
	if _, err := exec.LookPath(first); err != nil {
		return "", errors.New("there is no C compiler: " + cc)
	}
	return output("", nil, "go", "list", "-m", "-f", "{{.Version}}", wasmtimeModule)
}

// buildWasmtime builds the peer that holds wasmtime.
func (l *lab) buildWasmtime() (b built, err error) {
	if b.version, err = findWasmtime(); err != nil {
		return b, err
	}
	if b.path, err = l.build("", "./wasmtime", "wasmtime", []string{"CGO_ENABLED=1"}); err != nil {
		return b, errors.New(lastLine(err.Error()))
	}
	return b, nil
}

// lastLine is the end of what a program said: where it tells why it gave up.
func lastLine(said string) string {
	said = strings.TrimSpace(said)
	return said[strings.LastIndexByte(said, '\n')+1:]
}

// installed is what a program says is its version, "" if it is not installed.
func installed(name string) string {
	version, err := output("", nil, name, "--version")
	if err != nil {
		return ""
	}
	version, _, _ = strings.Cut(version, "\n")
	return version
}

// peersOf lists what agenthost is measured beside, with versions. What is not
// there is not built for it; bubblewrap is fetched by the row that measures it.
func peersOf(lines []line) []string {
	peers := []string{
		"wazero " + versionOf("github.com/tetratelabs/wazero"),
		"extism " + versionOf("github.com/extism/go-sdk"),
		"doublestar " + versionOf("github.com/bmatcuk/doublestar/v4"),
		"gobwas/glob " + versionOf("github.com/gobwas/glob"),
	}
	if version, err := findWasmtime(); err == nil {
		peers = append(peers, "wasmtime-go "+version)
	} else {
		peers = append(peers, "wasmtime-go "+notInstalled)
	}
	for _, name := range []string{"node", "deno"} {
		switch version := installed(name); {
		case version == "":
			peers = append(peers, name+" "+notInstalled)
		case strings.Contains(version, name):
			peers = append(peers, version)
		default:
			peers = append(peers, name+" "+version)
		}
	}
	bwrap := cmp.Or(installed("bwrap"), bubblewrapName+" "+notInstalled)
	for _, l := range lines {
		if l.Peer == bubblewrapName && l.Version != "" {
			bwrap = bubblewrapName + " " + l.Version
		}
	}
	return append(peers, bwrap)
}
