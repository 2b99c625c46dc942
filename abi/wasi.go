package abi

import "strings"

// WASIModule is the import module of WASI preview 1, the only WASI agenthost
// speaks. WASIUnstable is its forerunner, whose layouts differ.
const (
	WASIModule   = "wasi_snapshot_preview1"
	WASIUnstable = "wasi_unstable"
)

// Signature is the type of a function. Each byte of Params and Results is one
// value type in WebAssembly's own encoding, so signatures compare with ==.
type Signature struct {
	Params, Results string
}

// Value types in the encoding of the specification, one byte each.
// https://webassembly.github.io/spec/core/binary/types.html
const (
	I32 = "\x7f"
	I64 = "\x7e"
	F32 = "\x7d"
	F64 = "\x7c"
)

// String writes the signature as people do: (i32, i64) -> i32, or (i32) -> ().
func (s Signature) String() string {
	results := typeNames(s.Results)
	if len(s.Results) != 1 {
		results = "(" + results + ")"
	}
	return "(" + typeNames(s.Params) + ") -> " + results
}

func typeNames(types string) string {
	names := make([]string, len(types))
	for i := range names {
		switch types[i : i+1] {
		case I32:
			names[i] = "i32"
		case I64:
			names[i] = "i64"
		case F32:
			names[i] = "f32"
		case F64:
			names[i] = "f64"
		case "\x7b":
			names[i] = "v128"
		case "\x70":
			names[i] = "funcref"
		case "\x6f":
			names[i] = "externref"
		default:
			names[i] = "?"
		}
	}
	return strings.Join(names, ", ")
}

// Function is a function guests import.
type Function struct {
	Name string
	Signature
}

// Functions lists what a guest may import from [Module] or [WASIModule], sorted
// by name; nothing for any other module. The slice is the caller's.
func Functions(module string) []Function {
	lines := spelled(module)
	functions := make([]Function, len(lines))
	for i, line := range lines {
		functions[i] = parseFunction(line)
	}
	return functions
}

// Lookup gives the signature of one of the [Functions] of module, and whether
// there is such a function.
func Lookup(module, name string) (Signature, bool) {
	for _, line := range spelled(module) {
		if rest, ok := strings.CutPrefix(line, name); ok && rest[0] == ' ' {
			return parseFunction(line).Signature, true
		}
	}
	return Signature{}, false
}

// spelled lists the functions of a module as preview1 does.
func spelled(module string) []string {
	switch module {
	case Module:
		return []string{
			FuncCall + " iiii i",
			FuncMore + " iii i",
		}
	case WASIModule:
		return preview1()
	}
	return nil
}

func parseFunction(line string) Function {
	types := strings.NewReplacer("i", I32, "I", I64)
	f := strings.Split(line, " ")
	return Function{f[0], Signature{types.Replace(f[1]), types.Replace(f[2])}}
}

// preview1 is the whole of preview 1 as engines provide it: the snapshot's witx,
// and sock_accept, which came later under the same name. After each name stand
// its parameters and its results, i for i32 and I for i64.
// https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
func preview1() []string {
	return []string{
		"args_get ii i",
		"args_sizes_get ii i",
		"clock_res_get ii i",
		"clock_time_get iIi i",
		"environ_get ii i",
		"environ_sizes_get ii i",
		"fd_advise iIIi i",
		"fd_allocate iII i",
		"fd_close i i",
		"fd_datasync i i",
		"fd_fdstat_get ii i",
		"fd_fdstat_set_flags ii i",
		"fd_fdstat_set_rights iII i",
		"fd_filestat_get ii i",
		"fd_filestat_set_size iI i",
		"fd_filestat_set_times iIIi i",
		"fd_pread iiiIi i",
		"fd_prestat_dir_name iii i",
		"fd_prestat_get ii i",
		"fd_pwrite iiiIi i",
		"fd_read iiii i",
		"fd_readdir iiiIi i",
		"fd_renumber ii i",
		"fd_seek iIii i",
		"fd_sync i i",
		"fd_tell ii i",
		"fd_write iiii i",
		"path_create_directory iii i",
		"path_filestat_get iiiii i",
		"path_filestat_set_times iiiiIIi i",
		"path_link iiiiiii i",
		"path_open iiiiiIIii i",
		"path_readlink iiiiii i",
		"path_remove_directory iii i",
		"path_rename iiiiii i",
		"path_symlink iiiii i",
		"path_unlink_file iii i",
		"poll_oneoff iiii i",
		"proc_exit i ",
		"proc_raise i i",
		"random_get ii i",
		"sched_yield  i",
		"sock_accept iii i",
		"sock_recv iiiiii i",
		"sock_send iiiii i",
		"sock_shutdown ii i",
	}
}
