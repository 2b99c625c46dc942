package archive

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/internal/meter"
	"github.com/agenthost/agenthost/ledger"
)

// What to build, said wherever a module was built for something else.
const buildInstead = "build a command for WASI preview 1: Go GOOS=wasip1 GOARCH=wasm, TinyGo -target=wasip1, " +
	"Rust --target wasm32-wasip1, C clang --target=wasm32-wasip1, Zig -target wasm32-wasi"

// CheckModule reports what keeps a module from running as a guest of this
// version: what it is, imports or does not export. The error is a *PackageError
// whose hint says what to build instead. Nothing is run and no code is looked at:
// a module that passes may still be invalid.
func CheckModule(wasm []byte, e Entry) error {
	_, err := inspectModule(wasm, e)
	return err
}

// Guest is what the module of a package declares, as far as a host must know it
// before it runs.
type Guest struct {
	Module  ledger.Hash `json:"module"`            // of its bytes
	Memory  Size        `json:"memory,omitempty"`  // of its own memory as it begins
	Imports []Import    `json:"imports,omitempty"` // functions, of WASI and of the guest contract
}

// Import is a function a guest wants from its host.
type Import struct {
	Module string `json:"module"`
	Name   string `json:"name"`
	Type   string `json:"type"` // as "(i32, i64) -> i32"
}

// inspectModule is CheckModule, and gives what was found but for the digest.
func inspectModule(wasm []byte, e Entry) (*Guest, error) {
	c := moduleCheck{where: fmt.Sprintf("module %q", e.Module), enosys: e.UnknownImports == UnknownENOSYS}
	m, err := meter.Inspect(wasm)
	if err != nil {
		return nil, c.unreadable(wasm, err)
	}
	if err := c.imports(m.Imports); err != nil {
		return nil, err
	}
	if err := c.exports(m.Exports); err != nil {
		return nil, err
	}
	g := &Guest{}
	if m.Memory != nil {
		g.Memory = Size(m.Memory.Min) * wasmPage
	}
	for _, i := range m.Imports {
		g.Imports = append(g.Imports, Import{i.Module, i.Name, i.Type})
	}
	return g, nil
}

type moduleCheck struct {
	where  string
	enosys bool
}

func (c moduleCheck) fault(hint, format string, args ...any) error {
	return &PackageError{Where: c.where, What: fmt.Sprintf(format, args...), Hint: hint}
}

// unreadable turns what the meter says of bytes that are no module into words.
func (c moduleCheck) unreadable(wasm []byte, err error) error {
	var unsupported *meter.UnsupportedError
	switch {
	case errors.Is(err, meter.ErrNotWasm):
		what, hint := recognize(wasm[:min(len(wasm), blockSize)])
		return c.fault(hint, "not WebAssembly but %s", what)
	case errors.Is(err, meter.ErrComponent):
		return c.fault(buildInstead, "a component (WASI preview 2), and this version runs core modules")
	case errors.As(err, &unsupported):
		return c.fault("build it without that feature", "%s", err)
	}
	return c.fault("build it again", "%s", err)
}

// imports refuses what neither WASI preview 1 nor the guest contract offers.
func (c moduleCheck) imports(list []meter.Import) error {
	foreign := make(map[string][]string) // names by module
	var modules []string                 // in the order of the import section
	var unknown, mistyped []string
	for _, i := range list {
		if i.Module != abi.WASIModule && i.Module != abi.Module {
			if foreign[i.Module] == nil {
				modules = append(modules, i.Module)
			}
			foreign[i.Module] = append(foreign[i.Module], i.Name)
			continue
		}
		want, ok := abi.Lookup(i.Module, i.Name)
		switch {
		case ok && i.Kind == meter.KindFunc && i.Type == want.String():
		case ok && i.Kind == meter.KindFunc:
			mistyped = append(mistyped, fmt.Sprintf("%s as %s instead of %s", spell(i.Name), i.Type, want))
		case i.Kind != meter.KindFunc:
			mistyped = append(mistyped, fmt.Sprintf("%s as a %s, and only functions are offered", spell(i.Name), i.Kind))
		case c.enosys && i.Module == abi.WASIModule && answersErrno(i.Type):
		default:
			unknown = append(unknown, spell(i.Module)+"."+spell(i.Name))
		}
	}
	switch {
	case len(modules) > 0:
		return c.foreign(modules[0], foreign[modules[0]])
	case len(mistyped) > 0:
		return c.fault(buildInstead, "imports %s", some(mistyped))
	case len(unknown) > 0:
		hint := "build it for this version of agenthost"
		if strings.HasPrefix(unknown[0], abi.WASIModule) {
			hint = `build it for plain WASI preview 1, or say "unknown_imports": "enosys" in entry to have them answer ENOSYS`
			if c.enosys {
				hint = "only functions with one i32 as result can answer ENOSYS"
			}
		}
		return c.fault(hint, "imports %s, which agenthost does not offer", some(unknown))
	}
	return nil
}

// answersErrno reports whether a function of this type can answer ENOSYS.
func answersErrno(typ string) bool { return strings.HasSuffix(typ, ") -> i32") }

// foreign says where a module that imports these names comes from.
func (c moduleCheck) foreign(module string, names []string) error {
	spelled := make([]string, len(names))
	for i, name := range names {
		spelled[i] = spell(module) + "." + spell(name)
	}
	any := func(these ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(these, name) })
	}
	begins := func(prefixes ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		})
	}
	what, hint := "imports "+some(spelled)+", which agenthost does not offer", ""
	version, isContract := strings.CutPrefix(module, abi.ModulePrefix)
	switch {
	case isContract && plainNumber(version):
		what = fmt.Sprintf("built for version %s of the guest contract (imports %s); this agenthost speaks version %d", version, some(spelled), abi.Version)
		hint = fmt.Sprintf("build it with an SDK of version %d", abi.Version)
	case module == abi.WASIUnstable:
		what = "built for wasi_unstable, the forerunner of WASI preview 1 (imports " + some(spelled) + ")"
		hint = "its layouts differ; build it with a toolchain from 2020 or later. " + capital(buildInstead)
	case strings.HasPrefix(module, "wasi:"), module == "wasi_snapshot_preview2":
		what = "built for WASI preview 2 (imports " + some(spelled) + ")"
		hint = buildInstead
	case module == "gojs", module == "go":
		what = "built by Go for browsers (imports " + some(spelled) + ")"
		hint = "build it with GOOS=wasip1 instead of GOOS=js"
	case strings.HasPrefix(module, "__wbindgen_"), module == "wbg":
		what = "built with wasm-bindgen for JavaScript (imports " + some(spelled) + ")"
		hint = "build a program with `cargo build --target wasm32-wasip1`, without wasm-bindgen"
	case module == "env" && any("abort", "seed", "trace", "console.log"):
		hint = "AssemblyScript: asc --config node_modules/@assemblyscript/wasi-shim/asconfig.json"
	case module == "env" && begins("emscripten_", "_emscripten_", "__syscall_", "invoke_", "__cxa_"), len(module) == 1:
		hint = "Emscripten: emcc -sSTANDALONE_WASM -o agent.wasm, or build with wasi-sdk"
	case module == "env" && any("memory"):
		hint = "the module must bring its own memory: link without --import-memory"
	case module == "env":
		hint = "symbols that the linker did not find: link without --allow-undefined"
	case strings.HasPrefix(module, "GOT."):
		hint = "a shared library: link a program, without -shared and -fPIC"
	case strings.HasPrefix(module, "extism:"):
		hint = "an Extism plug-in: " + buildInstead
	case module == meter.ImportModule:
		hint = "only agenthost itself adds this import: pack the module as it was built"
	default:
		hint = "offered are " + abi.WASIModule + " and " + abi.Module + "; " + buildInstead
	}
	return c.fault(hint, "%s", what)
}

// exports asks for an entry point and a memory.
func (c moduleCheck) exports(list []meter.Export) error {
	find := func(name string) (meter.Export, bool) {
		i := slices.IndexFunc(list, func(e meter.Export) bool { return e.Name == name })
		if i < 0 {
			return meter.Export{}, false
		}
		return list[i], true
	}
	start, ok := find(abi.ExportStart)
	_, reactor := find("_initialize")
	switch {
	case !ok && reactor:
		return c.fault("build a program: Go without -buildmode=c-shared, Rust a bin instead of a cdylib, C without -mexec-model=reactor",
			"a reactor: it exports _initialize and no _start, and every turn is one run of a command")
	case !ok:
		return c.fault("build a program with a main function, not a library", "it exports no _start")
	case start.Kind != meter.KindFunc || start.Type != "() -> ()":
		return c.fault(buildInstead, "its _start is not a function without parameters and results")
	}
	if memory, ok := find(abi.ExportMemory); !ok || memory.Kind != meter.KindMemory {
		return c.fault("link it with its memory exported under the name memory, as toolchains do for WASI", "it exports no memory")
	}
	return nil
}

// spell writes a name that a module chose: as it is where that is plain.
func spell(name string) string {
	if name != "" && len(name) <= 60 && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"'`,\\", r)
	}) {
		return name
	}
	return strconv.QuoteToASCII(name[:min(len(name), 60)])
}

// some joins a list, a long one cut short.
func some(list []string) string {
	const most = 5
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
