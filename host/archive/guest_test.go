package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/agenthost/agenthost/abi"
)

// imported is one import of a module made for a test: a function unless kind
// says otherwise.
type imported struct {
	module, name string
	abi.Signature
	kind string // the bytes of its description
}

func fn(module, name string) imported {
	s, _ := abi.Lookup(module, name)
	return imported{module: module, name: name, Signature: s}
}

// wasm makes a module of these imports, with two empty functions, one
// memory unless it imports one, and the exports given as name, description.
func wasm(imports []imported, exports ...string) []byte {
	vec := func(items ...string) string { return leb(len(items)) + strings.Join(items, "") }
	name := func(s string) string { return leb(len(s)) + s }
	section := func(id byte, body string) string { return string(id) + leb(len(body)) + body }
	types := []string{"\x60\x00\x00", "\x60\x01\x7f\x00"}
	var is []string
	own := []string{"\x00\x02"} // memories
	functions := 0
	for _, i := range imports {
		kind := i.kind
		if kind == "" {
			kind = "\x00" + leb(len(types))
			types = append(types, "\x60"+name(i.Params)+name(i.Results))
			functions++
		} else if kind[0] == 2 {
			own = nil
		}
		is = append(is, name(i.module)+name(i.name)+kind)
	}
	var es []string
	for i := 0; i < len(exports); i += 2 {
		description := exports[i+1]
		if description[0] == 0 { // of the module's own functions
			description = "\x00" + leb(functions+int(description[1]))
		}
		es = append(es, name(exports[i])+description)
	}
	return []byte("\x00asm\x01\x00\x00\x00" +
		section(1, vec(types...)) +
		section(2, vec(is...)) +
		section(3, vec("\x00", "\x01")) +
		section(5, vec(own...)) +
		section(7, vec(es...)) +
		section(10, vec("\x02\x00\x0b", "\x02\x00\x0b")))
}

func leb(n int) string {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return string(append(b, byte(n)))
}

// What a test's module exports: function 0 takes and gives nothing, function 1
// takes an i32.
const (
	exportStart  = "\x00\x00"
	exportOther  = "\x00\x01"
	exportMemory = "\x02\x00"
)

// command is a module that runs, with these imports.
func command(imports ...imported) []byte {
	return wasm(imports, "_start", exportStart, "memory", exportMemory)
}

func TestCheckModule(t *testing.T) {
	const build = "build a command for WASI preview 1: Go GOOS=wasip1 GOARCH=wasm, TinyGo -target=wasip1, Rust --target wasm32-wasip1, C clang --target=wasm32-wasip1, Zig -target wasm32-wasi"
	var all []imported
	for _, m := range []string{abi.WASIModule, abi.Module} {
		for _, f := range abi.Functions(m) {
			all = append(all, fn(m, f.Name))
		}
	}
	some := abi.Signature{Params: abi.I32, Results: abi.I32}
	other := func(module string, names ...string) []byte {
		var list []imported
		for _, name := range names {
			list = append(list, imported{module: module, name: name, Signature: some})
		}
		return command(append([]imported{fn(abi.WASIModule, "fd_write")}, list...)...)
	}
	enosys := Entry{UnknownImports: UnknownENOSYS}
	for _, test := range []struct {
		name  string
		wasm  []byte
		entry Entry
		want  string // after the module's name; empty if it runs
	}{
		{"everything offered", command(all...), Entry{}, ""},
		{"nothing imported", command(), Entry{}, ""},
		{"imports twice", command(fn(abi.Module, "call"), fn(abi.Module, "call")), Entry{}, ""},

		{"component", []byte("\x00asm\x0d\x00\x01\x00"), Entry{}, "a component (WASI preview 2), and this version runs core modules; " + build},
		{"empty", nil, Entry{}, "not WebAssembly but an empty file; put what belongs to the agent in a folder with a manifest.json, then `agenthost package pack`"},
		{"text", []byte("(module)"), Entry{}, "not WebAssembly but WebAssembly as text; assemble it first, as with wat2wasm"},
		{"cut", command()[:12], Entry{}, "malformed at offset 10: unexpected end; build it again"},

		{"wasi_unstable", other("wasi_unstable", "fd_read"), Entry{}, "built for wasi_unstable, the forerunner of WASI preview 1 (imports wasi_unstable.fd_read); its layouts differ; build it with a toolchain from 2020 or later. B" + build[1:]},
		{"preview 2", other("wasi:io/streams@0.2.0", "drop"), Entry{}, "built for WASI preview 2 (imports wasi:io/streams@0.2.0.drop); " + build},
		{"next version", other("agenthost_v2", "call", "more"), Entry{}, "built for version 2 of the guest contract (imports agenthost_v2.call, agenthost_v2.more); this agenthost speaks version 1; build it with an SDK of version 1"},
		{"no version", other("agenthost_vx", "call"), Entry{}, "imports agenthost_vx.call, which agenthost does not offer; offered are wasi_snapshot_preview1 and agenthost_v1; " + build},
		{"the meter's", other("agenthost_meter", "refill"), Entry{}, "imports agenthost_meter.refill, which agenthost does not offer; only agenthost itself adds this import: pack the module as it was built"},
		{"Go for browsers", other("gojs", "runtime.wasmExit"), Entry{}, "built by Go for browsers (imports gojs.runtime.wasmExit); build it with GOOS=wasip1 instead of GOOS=js"},
		{"wasm-bindgen", other("__wbindgen_placeholder__", "__wbindgen_throw"), Entry{}, "built with wasm-bindgen for JavaScript (imports __wbindgen_placeholder__.__wbindgen_throw); build a program with `cargo build --target wasm32-wasip1`, without wasm-bindgen"},
		{"AssemblyScript", other("env", "abort"), Entry{}, "imports env.abort, which agenthost does not offer; AssemblyScript: asc --config node_modules/@assemblyscript/wasi-shim/asconfig.json"},
		{"Emscripten", other("env", "emscripten_notify_memory_growth"), Entry{}, "imports env.emscripten_notify_memory_growth, which agenthost does not offer; Emscripten: emcc -sSTANDALONE_WASM -o agent.wasm, or build with wasi-sdk"},
		{"Emscripten, minified", other("a", "a", "b", "c", "d", "e", "f", "g"), Entry{}, "imports a.a, a.b, a.c, a.d, a.e and 2 more, which agenthost does not offer; Emscripten: emcc -sSTANDALONE_WASM -o agent.wasm, or build with wasi-sdk"},
		{"undefined symbols", other("env", "my_function"), Entry{}, "imports env.my_function, which agenthost does not offer; symbols that the linker did not find: link without --allow-undefined"},
		{"imported memory", command(imported{module: "env", name: "memory", kind: "\x02\x00\x01"}), Entry{}, "imports env.memory, which agenthost does not offer; the module must bring its own memory: link without --import-memory"},
		{"shared library", other("GOT.mem", "stack"), Entry{}, "imports GOT.mem.stack, which agenthost does not offer; a shared library: link a program, without -shared and -fPIC"},
		{"Extism", other("extism:host/env", "alloc"), Entry{}, "imports extism:host/env.alloc, which agenthost does not offer; an Extism plug-in: " + build},
		{"hostile names", other("\x1b[2J", "\u202e"), Entry{}, `imports "\x1b[2J"."\u202e", which agenthost does not offer; offered are wasi_snapshot_preview1 and agenthost_v1; ` + build},
		{"unknown module, enosys", other("env", "x"), enosys, "imports env.x, which agenthost does not offer; symbols that the linker did not find: link without --allow-undefined"},

		{"unknown function", other(abi.WASIModule, "sock_open", "sock_bind"), Entry{}, `imports wasi_snapshot_preview1.sock_open, wasi_snapshot_preview1.sock_bind, which agenthost does not offer; build it for plain WASI preview 1, or say "unknown_imports": "enosys" in entry to have them answer ENOSYS`},
		{"unknown function, enosys", other(abi.WASIModule, "sock_open", "sock_bind"), enosys, ""},
		{"unknown function without result, enosys", command(imported{module: abi.WASIModule, name: "thread_exit"}), enosys, "imports wasi_snapshot_preview1.thread_exit, which agenthost does not offer; only functions with one i32 as result can answer ENOSYS"},
		{"unknown function of the contract", other(abi.Module, "fetch"), enosys, "imports agenthost_v1.fetch, which agenthost does not offer; build it for this version of agenthost"},
		{"other signature", other(abi.WASIModule, "sock_accept"), Entry{}, "imports sock_accept as (i32) -> i32 instead of (i32, i32, i32) -> i32; " + build},
		{"other signature, enosys", other(abi.WASIModule, "sock_accept"), enosys, "imports sock_accept as (i32) -> i32 instead of (i32, i32, i32) -> i32; " + build},
		{"other signature of the contract", other(abi.Module, "call"), Entry{}, "imports call as (i32) -> i32 instead of (i32, i32, i32, i32) -> i32; " + build},
		{"a global", command(imported{module: abi.WASIModule, name: "fd_read", kind: "\x03\x7f\x00"}), enosys, "imports fd_read as a global, and only functions are offered; " + build},
		{"a memory of the contract", command(imported{module: abi.Module, name: "memory", kind: "\x02\x00\x01"}), Entry{}, "imports memory as a memory, and only functions are offered; " + build},

		{"library", wasm(nil, "memory", exportMemory), Entry{}, "it exports no _start; build a program with a main function, not a library"},
		{"reactor", wasm(nil, "_initialize", exportStart, "memory", exportMemory), Entry{}, "a reactor: it exports _initialize and no _start, and every turn is one run of a command; build a program: Go without -buildmode=c-shared, Rust a bin instead of a cdylib, C without -mexec-model=reactor"},
		{"_start takes something", wasm(nil, "_start", exportOther, "memory", exportMemory), Entry{}, "its _start is not a function without parameters and results; " + build},
		{"_start is a memory", wasm(nil, "_start", exportMemory, "memory", exportMemory), Entry{}, "its _start is not a function without parameters and results; " + build},
		{"no memory", wasm(nil, "_start", exportStart), Entry{}, "it exports no memory; link it with its memory exported under the name memory, as toolchains do for WASI"},
		{"memory is a function", wasm(nil, "_start", exportStart, "memory", exportOther), Entry{}, "it exports no memory; link it with its memory exported under the name memory, as toolchains do for WASI"},
	} {
		test.entry.Module = "agent.wasm"
		err := CheckModule(test.wasm, test.entry)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		wantError(t, test.name, err, `package: module "agent.wasm": `+test.want)
		if !errors.As(err, new(*PackageError)) {
			t.Errorf("%s: the error is a %T", test.name, err)
		}
	}
}

func TestCheckModuleEveryCut(t *testing.T) {
	whole := command(fn(abi.WASIModule, "path_open"))
	for i := range whole {
		if err := CheckModule(whole[:i], Entry{}); !errors.As(err, new(*PackageError)) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

func TestModuleInPackage(t *testing.T) {
	guest := string(command())
	entry := `, "entry": {"module": "bin/agent.wasm"}`
	p, _ := mustPack(t, folder(t, "manifest.json", base(entry), "bin/agent.wasm", guest))
	if module, err := p.Module(); err != nil || string(module) != guest {
		t.Errorf("the module is %q, %v", module, err)
	}
	_, err := FromFolder(folder(t, "manifest.json", base(`, "limits": {"memory": "64KiB"}`+entry), "bin/agent.wasm", guest))
	wantError(t, "memory", err, `manifest.json: limits.memory: 64KiB, but the module begins with 128KiB; raise it, or build the module with less memory`)
	_, err = FromFolder(folder(t, "manifest.json", base(`, "entry": {"module": "bin"}`), "bin/agent.wasm", guest))
	wantError(t, "a folder", err, `manifest.json: entry.module: no file "bin" in the package; build it first, or leave entry out of a library`)

	m := Manifest{Schema: ManifestSchema, ID: "PKG-A", Version: "0.1.0", Entry: &Entry{Module: "a"}}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Read(bytes.NewReader(zip(rawTar(part{ManifestName, string(encoded)}))))
	wantError(t, "read without module", err, `manifest.json: entry.module: no file "a" in the package; build it first, or leave entry out of a library`)
}

func TestFromModule(t *testing.T) {
	dir := t.TempDir()
	for name, id := range map[string]string{
		"hello.wasm": "PKG-LOCAL-HELLO", "my agent_2.wasm": "PKG-LOCAL-MY-AGENT-2", "ß.wasm": "PKG-LOCAL-MODULE", "noending": "PKG-LOCAL-NOENDING",
		strings.Repeat("a", 200): "PKG-LOCAL-" + strings.Repeat("A", 90),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, command(), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := OpenPath(path)
		if err != nil {
			t.Fatal(err)
		}
		m := p.Manifest
		c := m.Capabilities
		if m.ID != id || m.Entry == nil || len(c.Read)+len(c.Write)+len(c.Execute) != 0 {
			t.Errorf("%s: the manifest is %+v", name, m)
		}
		if module, err := p.Module(); err != nil || !bytes.Equal(module, command()) {
			t.Errorf("%s: the module is %q, %v", name, module, err)
		}
		p.Close()
	}
	path := filepath.Join(dir, "library.wasm")
	if err := os.WriteFile(path, wasm(nil), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := OpenPath(path)
	wantError(t, "library", err, `library.wasm: package: module "agent.wasm": it exports no _start; build a program with a main function, not a library`)
}

func TestOpenPath(t *testing.T) {
	const pack = "put what belongs to the agent in a folder with a manifest.json, then `agenthost package pack`"
	for content, want := range map[string]string{
		"":                      "an empty file; " + pack,
		string(good()):          "a tar that is not compressed; unpack it and pack the folder with `agenthost package pack`",
		"PK\x03\x04…":           "a zip file; unpack it; " + pack,
		"\x28\xb5\x2f\xfd":      "compressed, but not with gzip; unpack it; " + pack,
		"\x7fELF":               "a program for this kind of machine, which agenthost does not run; build it for WebAssembly: GOOS=wasip1 GOARCH=wasm, or --target wasm32-wasip1",
		"(component":            "WebAssembly as text; assemble it first, as with wat2wasm",
		"#!/usr/bin/env python": "a script; an agent is a WebAssembly program; " + pack,
		"{}":                    "JSON, perhaps a manifest; give its folder instead",
		"hello":                 "not a package; " + pack,
	} {
		path := filepath.Join(t.TempDir(), "x.tar.gz")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := OpenPath(path)
		wantError(t, content[:min(len(content), 10)], err, "package: x.tar.gz is "+want)
	}
	dir := t.TempDir()
	if _, err := OpenPath(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	_, err := OpenPath(dir)
	wantError(t, "folder", err, "package: "+filepath.Base(dir)+` has no manifest.json; the smallest is {"schema": "agenthost/package/v1", "id": "PKG-…", "version": "0.1.0", "entry": {"module": "agent.wasm"}}`)
	if _, err := OpenPath(os.DevNull); err == nil || !strings.Contains(err.Error(), "is neither a file nor a folder") {
		t.Errorf("device: %v", err)
	}
	path := filepath.Join(dir, "broken")
	if err := os.WriteFile(path, zip(rawTar()), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = OpenPath(path)
	wantError(t, "broken", err, "broken: package: the archive is empty; "+packAgain)
	p, err := OpenPath(smallFolder(t))
	if err != nil || p.Digest.String() != smallDigest {
		t.Errorf("folder: %v", err)
	}
}

// TestPreview1 holds the table of package abi against the engine's own.
func TestPreview1(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	m, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	offered := m.ExportedFunctions()
	for name, f := range offered {
		want := abi.Signature{Params: string(f.ParamTypes()), Results: string(f.ResultTypes())}
		if got, ok := abi.Lookup(abi.WASIModule, name); !ok || got != want {
			t.Errorf("%s is %s in the table, %s in the engine", name, got, want)
		}
	}
	if got, want := len(abi.Functions(abi.WASIModule)), len(offered); got != want {
		t.Errorf("%d functions in the table, %d in the engine", got, want)
	}
}

// TestModulesAreValid: what stands for a guest in these tests is one.
func TestModulesAreValid(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	for _, imports := range [][]imported{nil, {fn(abi.WASIModule, "path_open"), fn(abi.Module, "call")}, {{module: "env", name: "memory", kind: "\x02\x00\x01"}}} {
		if _, err := r.CompileModule(ctx, command(imports...)); err != nil {
			t.Error(err)
		}
	}
}
