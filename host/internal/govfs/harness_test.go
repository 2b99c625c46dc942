//go:build linux

package govfs

import (
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/gate/gatetest"
	"github.com/agenthost/agenthost/host/internal/hostcall"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

const sid = "SES-20260102T030405Z-0123456789abcdef"

var asOf = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// An instance is a module without code, whose imports the tests call in its
// place, behind the guards.
type instance struct {
	t       testing.TB
	gate    *gate.Gate
	calls   *hostcall.Dispatcher
	fs      *FS
	dir     string // the workspace
	exec    *ledger.Log
	begin   ledger.Entry
	charged int64

	module    api.Module
	functions map[string]api.FunctionDefinition
}

// memoryOnly is a module that has one page of memory and nothing else.
var memoryOnly = []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x01")

func newInstance(t testing.TB) *instance {
	t.Helper()
	ctx := context.Background()
	top := t.TempDir()
	in := &instance{t: t, dir: filepath.Join(top, "ws")}
	for name, content := range map[string]string{
		"docs/a.md": "0123456789", "docs/b.md": "b", "docs/sub/c": "c", "secret": "SECRET", "docs/no/s": "SECRET",
	} {
		path := filepath.Join(in.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(name string) *beneath.Dir { return gatetest.Folder(t, filepath.Join(top, name)) }
	log := func(name string, o ledger.Options) *ledger.Log { return gatetest.Log(t, filepath.Join(top, name), o) }
	enforcer, err := capability.New(capability.Grants{
		Read: []string{"docs/**"}, Write: []string{"docs/*.md"}, Forbidden: []string{"docs/no/**"},
	})
	if err != nil {
		t.Fatal(err)
	}
	in.exec = log("exec", record.ExecOptions(sid))
	if in.begin, err = in.exec.Append(1, record.TurnBegin{AsOf: asOf.Format(time.RFC3339Nano)}); err != nil {
		t.Fatal(err)
	}
	in.gate, err = gate.New(ctx, gate.Config{
		Session: sid, Turn: 1, Enforcer: enforcer.Bind(sid), Workspace: folder("ws"),
		Staged:  gate.Areas{Workspace: folder("staged"), Out: folder("out"), Tmp: folder("tmp")},
		Outputs: []archive.Output{{Path: "docs/*.md", Role: "report"}},
		Exec:    in.exec, Evidence: log("evidence", record.EvidenceOptions(sid)),
		Charge: func(units int64) { in.charged += units },
		Ceiling: gate.Ceiling{
			Entries: 1e6, Evidence: math.MaxInt64 / 2, OpenFiles: 100, OutputBytes: 1 << 20, OutputFiles: 100,
			ScratchBytes: 1 << 20, ScratchFiles: 1000, CopyBytes: 1 << 20, ListNames: 1000,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	in.calls = hostcall.New(hostcall.Config{
		Gate: in.gate, Request: []byte("{}\n"), Rights: []byte("{}\n"),
		Charge: func(units int64) { in.charged += units },
		Result: func([]byte) {}, Log: func([]byte) {},
	})
	in.fs = New(in.gate, in.calls, asOf.UnixNano())

	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { runtime.Close(ctx) })
	wasi, err := wasi_snapshot_preview1.NewBuilder(runtime).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in.functions = wasi.ExportedFunctions()
	files := wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(in.fs, "/")
	in.module, err = runtime.InstantiateWithConfig(ctx, memoryOnly, wazero.NewModuleConfig().WithFSConfig(files))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

const (
	root   = 3     // the descriptor of /
	pathAt = 0     // where path puts a path
	dataAt = 16384 // where data is read and written
	dataIs = 40000 // how much room there is
	vector = 60000 // one buffer
	answer = 61000 // where results go
)

// call calls a function as a guest does: behind its guard, and with the upper
// halves of its 32-bit parameters full of anything.
func (in *instance) call(function string, params ...uint64) (errno uint32) {
	in.t.Helper()
	def := in.functions[function]
	if len(params) != len(def.ParamTypes()) {
		in.t.Fatalf("%s has %d parameters, %d were given", function, len(def.ParamTypes()), len(params))
	}
	stack := make([]uint64, len(params))
	for i, kind := range def.ParamTypes() {
		stack[i] = params[i]
		if kind == api.ValueTypeI32 {
			stack[i] = params[i]&math.MaxUint32 | 0xdeadbeef<<32
		}
	}
	if errno, refused := GuardOf(function).Refuse(in.gate, in.module, stack, func(n int64) { in.charged += n }); refused {
		return errno
	}
	def.GoFunction().(api.GoModuleFunction).Call(context.Background(), in.module, stack)
	return uint32(stack[0])
}

// path puts a path into memory and returns its address and length.
func (in *instance) path(p string) (at, size uint64) {
	in.t.Helper()
	if !in.module.Memory().WriteString(pathAt, p) {
		in.t.Fatalf("a path of %d bytes", len(p))
	}
	return pathAt, uint64(len(p))
}

// buffer makes one vector of size bytes.
func (in *instance) buffer(size int) {
	in.module.Memory().WriteUint32Le(vector, dataAt)
	in.module.Memory().WriteUint32Le(vector+4, uint32(size))
}

func (in *instance) result() uint32 {
	n, _ := in.module.Memory().ReadUint32Le(answer)
	return n
}

func (in *instance) data(size uint32) string {
	b, _ := in.module.Memory().Read(dataAt, size)
	return string(b)
}

// WASI's flags and rights.
const (
	create, directory, excl, trunc = 1, 2, 4, 8
	readRight, writeRight          = 1 << 1, 1 << 6
	appends                        = 1
)

func (in *instance) open(p string, oflags, rights, fdflags uint64) (fd uint64, errno uint32) {
	in.t.Helper()
	at, size := in.path(p)
	errno = in.call("path_open", root, 0, at, size, oflags, rights, 0, fdflags, answer)
	return uint64(in.result()), errno
}

func (in *instance) opened(p string, oflags, rights, fdflags uint64) uint64 {
	in.t.Helper()
	fd, errno := in.open(p, oflags, rights, fdflags)
	if errno != 0 {
		in.t.Fatalf("open %s: errno %d", p, errno)
	}
	return fd
}

// write writes at the descriptor's offset.
func (in *instance) write(fd uint64, text string) {
	in.t.Helper()
	in.module.Memory().WriteString(dataAt, text)
	in.buffer(len(text))
	if errno := in.call("fd_write", fd, vector, 1, answer); errno != 0 || in.result() != uint32(len(text)) {
		in.t.Fatalf("write: errno %d, %d bytes", errno, in.result())
	}
}

func (in *instance) read(fd uint64, size int) string {
	in.t.Helper()
	in.buffer(size)
	if errno := in.call("fd_read", fd, vector, 1, answer); errno != 0 {
		in.t.Fatalf("read: errno %d", errno)
	}
	return in.data(in.result())
}

func (in *instance) seek(fd uint64, offset int64, whence uint64) (uint64, uint32) {
	errno := in.call("fd_seek", fd, uint64(offset), whence, answer)
	to, _ := in.module.Memory().ReadUint64Le(answer)
	return to, errno
}

// last returns the last operation that was recorded.
func (in *instance) last() (op record.Op) {
	in.t.Helper()
	for e, err := range in.exec.Since(in.begin) {
		if err != nil {
			in.t.Fatal(err)
		}
		if body, err := record.Decode(e); err == nil {
			if o, ok := body.(record.Op); ok {
				op = o
			}
		}
	}
	return op
}

// dirents decodes what fd_readdir wrote.
func (in *instance) dirents(used uint32) (names []string, next uint64) {
	b := []byte(in.data(used))
	for len(b) >= 24 {
		size := binary.LittleEndian.Uint32(b[16:])
		if len(b) < 24+int(size) {
			break
		}
		next = binary.LittleEndian.Uint64(b)
		names = append(names, string(b[24:24+size]))
		b = b[24+size:]
	}
	return names, next
}
