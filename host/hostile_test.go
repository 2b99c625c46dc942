package host

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/archive"
)

// forbidden is a manifest under which reading "x" ends the turn.
var forbidden = with(grants([]string{"**"}, nil, []string{"x"}), writes("out/**"))

// opener adds to a module what opens a path for reading: "x" stands at 100, and
// "out/y" at 110, which it creates.
func opener(w *wasm) (read, create []byte) {
	open := w.wasi("path_open")
	w.put(100, "x")
	w.put(110, "out/y")
	const rights = 1<<1 | 1<<6 // fd_read, fd_write
	read = code(c32(3), c32(0), c32(100), c32(1), c32(0), c64(1<<1), c64(0), c32(0), c32(200), call(open), opDrop)
	create = code(c32(3), c32(0), c32(110), c32(5), c32(1), c64(rights), c64(0), c32(0), c32(200), call(open), opDrop)
	return read, create
}

// A guest cannot swallow what ends its turn, by any means of its language or of
// WebAssembly, and does nothing after it.
func TestAbortCannotBeCaught(t *testing.T) {
	oneThread(t)
	catchAll := newWasm(1)
	read, create := opener(catchAll)
	catchAll.tags = [][]byte{code(0, catchAll.typ("", ""))}
	catchAll.start(0,
		opBlock, opEmpty,
		opTryTable, opEmpty, 1, 2, 0, // catch_all: to the block's end
		read,
		opEnd,
		opEnd,
		create, forever(read, create))

	nested := newWasm(1)
	read, create = opener(nested)
	nested.tags = [][]byte{code(0, nested.typ("", ""))}
	inner := nested.fn("", "", 0, opBlock, opEmpty, opTryTable, opEmpty, 1, 2, 0, read, opEnd, opEnd, create)
	middle := nested.fn("", "", 0, opBlock, opEmpty, opTryTable, opEmpty, 1, 2, 0, call(inner), opThrow, 0, opEnd, opEnd, create)
	nested.start(0, opBlock, opEmpty, opTryTable, opEmpty, 1, 2, 0, call(middle), opEnd, opEnd, create)

	inStart := newWasm(1)
	read, create = opener(inStart)
	inStart.init = inStart.fn("", "", 0, read, create)
	inStart.start(0, create)

	for _, c := range []struct {
		name   string
		module []byte
		steps  []string
	}{
		{"recover, defer and goroutines of Go", nil, []string{"deny /x", "write /out/after x"}},
		{"catch_all", catchAll.bytes(), nil},
		{"catch_all on every level", nested.bytes(), nil},
		{"in the module's start function", inStart.bytes(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, map[string]string{"x": "secret"})
			r := b.run(ask{module: c.module, manifest: forbidden, steps: c.steps})
			ended(t, r, "blocked", "violation", `the turn was blocked: the agent may not read "x" (forbidden x)`, "no grant allows it while that rule stands; nothing was published")
			if v := r.Violation; v == nil || v.Subject != "x" || v.Turn != 1 {
				t.Errorf("got violation %+v", v)
			}
			ops := b.ops(r)
			if last := ops[len(ops)-1]; last.Decision != "violation" || last.Path != "x" {
				t.Errorf("the last entry is %+v", last)
			}
			if len(r.Evidence.Violations) != 1 {
				t.Errorf("got violations %+v, want one", r.Evidence.Violations)
			}
		})
	}
}

// Guests that never end, or want more than there is, end at a limit.
func TestGuestsThatNeverEnd(t *testing.T) {
	short := limits(members{"fuel": 1 << 40, "time": "300ms"})
	plain := func(body ...any) *wasm { return newWasm(1).start(1, body...) }

	self := newWasm(1)
	self.start(0, call(0))
	mutual := newWasm(1)
	mutual.fn("", "", 0, call(1))
	mutual.fn("", "", 0, call(0))
	mutual.start(0, call(0))
	fat := newWasm(1) // frames of thousands of values
	var live []byte
	for i := range 3000 {
		live = code(live, get(i), get(i+1), opAdd, set(i))
	}
	fat.fn(string([]byte{i32}), "", 3000, live, get(0), call(0), live)
	fat.start(0, c32(1), call(0))
	looping := newWasm(1)
	looping.init = looping.fn("", "", 0, forever())
	looping.start(0)
	table := newWasm(1)
	table.tables = [][]byte{code(0x70, 0, 1)}
	table.start(0, forever(0xd0, 0x70, c32(1000), 0xfc, 15, 0, opDrop))
	global := newWasm(1) // its own counter stands beside the meter's
	own := global.global(1 << 62)
	global.exports = append(global.exports, code(name("agenthost_counter"), 3, uleb(uint64(own))))
	global.start(0, forever(c64(1<<62), opGlobalSet, uleb(uint64(own))))
	thrower := newWasm(1)
	thrower.tags = [][]byte{code(0, thrower.typ("", ""))}
	thrower.start(0, forever(opBlock, opEmpty, opTryTable, opEmpty, 1, 2, 0, opThrow, 0, opEnd, opEnd))
	for _, c := range []struct {
		name, limit string
		module      *wasm
		manifest    members
	}{
		{"empty loop", "time", plain(forever()), short},
		{"loop in the start function", "time", looping, short},
		{"table.grow", "time", table, short},
		{"memory.grow", "time", plain(forever(c32(1), opMemoryGrow, 0, opDrop)), short},
		{"recursion", "call_depth", self, nil},
		{"mutual recursion", "call_depth", mutual, nil},
		{"recursion of large frames", "call_depth", fat, limits(members{"call_depth": 1 << 15})},
		{"throw and catch", "time", thrower, short},
		{"a global of its own", "time", global, short},
		{"empty loop, by fuel", "fuel", plain(forever()), limits(members{"fuel": 10_000_000})},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			started := time.Now()
			r := b.run(ask{module: c.module.bytes(), manifest: c.manifest})
			t.Logf("%v, %d units, %s", time.Since(started), r.Fuel, r.Message)
			if r.Status != "error" || r.Code != "limit" || r.Limit != c.limit {
				t.Errorf("got %s %s %s: %s", r.Status, r.Code, r.Limit, r.Message)
			}
		})
	}
}

// Filling half of what 32 bits can address is one instruction: it is paid for
// before it begins, and time is looked at while it goes on.
func TestFillThatNeverEnds(t *testing.T) {
	own := must(NewRunner(t.Context(), Config{CacheDir: sharedCache(), Ceilings: archive.Limits{Memory: 4 << 30}}))(t)
	defer own.Close(t.Context())
	fill := newWasm(1<<15).start(0, forever(c32(0), c32(1), c32(-1<<31), memoryFill())).bytes()
	for _, c := range []struct {
		limit  string
		limits members
	}{
		{"time", members{"memory": "3GiB", "fuel": 1 << 40, "time": "300ms"}},
		{"fuel", members{"memory": "3GiB", "fuel": 1 << 27, "time": "10m"}},
	} {
		t.Run(c.limit, func(t *testing.T) {
			b := newBench(t, nil)
			b.runner = own
			started := time.Now()
			r := b.run(ask{module: fill, manifest: limits(c.limits)})
			t.Logf("%v, %d units, %s", time.Since(started), r.Fuel, r.Message)
			if r.Status != "error" || r.Code != "limit" || r.Limit != c.limit {
				t.Errorf("got %s %s %s: %s", r.Status, r.Code, r.Limit, r.Message)
			}
			if r.Memory != 1<<31 {
				t.Errorf("got %d bytes of memory, want 2 GiB", r.Memory)
			}
		})
	}
}

// Calls with arguments that would make the host work or allocate without bound
// are answered, and the turn goes on.
func TestHugeArguments(t *testing.T) {
	oneThread(t)
	const most = 1<<31 - 1
	for _, c := range []struct {
		name string
		call func(w *wasm) []byte // leaves an errno
		want int64
	}{
		{"poll of two billion", func(w *wasm) []byte {
			return code(c32(0), c32(0), c32(most), c32(0), call(w.wasi("poll_oneoff")))
		}, 28},
		{"poll whose size wraps", func(w *wasm) []byte {
			return code(c32(0), c32(0), c32(1<<28), c32(0), call(w.wasi("poll_oneoff")))
		}, 28},
		{"random beyond memory", func(w *wasm) []byte { return code(c32(0), c32(-1), call(w.wasi("random_get"))) }, 21},
		{"buffers to read", func(w *wasm) []byte { return code(c32(0), c32(0), c32(most), c32(0), call(w.wasi("fd_read"))) }, 28},
		{"buffers to write", func(w *wasm) []byte { return code(c32(1), c32(0), c32(1<<29), c32(0), call(w.wasi("fd_write"))) }, 28},
		{"path of a MiB", func(w *wasm) []byte {
			return code(c32(3), c32(0), c32(0), c32(1<<20), c32(500), call(w.wasi("path_filestat_get")))
		}, 44},
		{"path beyond memory", func(w *wasm) []byte {
			return code(c32(3), c32(0), c32(0), c32(-1), c32(500), call(w.wasi("path_filestat_get")))
		}, 44},
		{"descriptor two billion", func(w *wasm) []byte {
			_, create := opener(w)
			return code(create, c32(4), c32(most), call(w.wasi("fd_renumber")))
		}, 8},
		{"descriptor of all bits", func(w *wasm) []byte {
			_, create := opener(w)
			return code(create, c32(4), c32(-1), call(w.wasi("fd_renumber")))
		}, 8},
		{"over the root's descriptor", func(w *wasm) []byte {
			_, create := opener(w)
			return code(create, c32(4), c32(3), call(w.wasi("fd_renumber")))
		}, 58},
		{"the root's descriptor away", func(w *wasm) []byte { return code(c32(3), c32(9), call(w.wasi("fd_renumber"))) }, 58},
		{"allocate at the end of the world", func(w *wasm) []byte {
			_, create := opener(w)
			return code(create, c32(4), c64(1<<62), c64(1<<62), call(w.wasi("fd_allocate")))
		}, 28},
		{"an offset below zero", func(w *wasm) []byte {
			_, create := opener(w)
			return code(create, c32(4), c32(300), c32(1), c64(-5), c32(320), call(w.wasi("fd_pread")))
		}, 28},
		{"listing into more than there is", func(w *wasm) []byte {
			return code(c32(3), c32(0), c32(-1), c64(0), c32(100), call(w.wasi("fd_readdir")))
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			w := newWasm(17)
			exit := w.imp("wasi_snapshot_preview1", "proc_exit", string([]byte{i32}), "")
			w.put(300, string([]byte{0, 4, 0, 0, 8, 0, 0, 0}))
			errno := c.call(w)
			w.start(0, errno, call(exit))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := b.run(ask{module: w.bytes(), manifest: writes("out/**")})
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
				t.Errorf("the host allocated %d MiB", used>>20)
			}
			if r.Exit == nil || *r.Exit != c.want {
				t.Errorf("got %s %s, exit %v, want errno %d", r.Status, r.Message, r.Exit, c.want)
			}
		})
	}
}

// What a guest does to its own descriptors is its own affair.
func TestClosedDescriptors(t *testing.T) {
	w := newWasm(1)
	closeFD := w.wasi("fd_close")
	read, create := opener(w)
	exit := w.wasi("proc_exit")
	write := w.wasi("fd_write")
	w.put(300, string([]byte{0, 4, 0, 0, 8, 0, 0, 0}))
	var body []byte
	for fd := range 5 {
		body = code(body, c32(int64(fd)), call(closeFD), opDrop)
	}
	w.start(0, body, read, create, c32(1), c32(300), c32(1), c32(320), call(write), call(exit))
	b := newBench(t, map[string]string{"x": "secret"})
	r := b.run(ask{module: w.bytes(), manifest: forbidden})
	ended(t, r, "error", "exit", "the agent ended with exit status 8", "nothing was published; what the agent said is in the ledger")
}

// proc_exit ends the guest wherever it is called, and cannot be caught.
func TestExitFromAnywhere(t *testing.T) {
	oneThread(t)
	for _, c := range []struct {
		name  string
		code  int64
		build func(w *wasm, exit []byte)
	}{
		{"nested", 7, func(w *wasm, exit []byte) {
			inner := w.fn("", "", 0, c32(7), exit, opUnreachable)
			middle := w.fn("", "", 0, call(inner), opUnreachable)
			w.start(0, call(middle), opUnreachable)
		}},
		{"in the start function", 7, func(w *wasm, exit []byte) {
			w.init = w.fn("", "", 0, c32(7), exit, opUnreachable)
			w.start(0, opUnreachable)
		}},
		{"caught", 7, func(w *wasm, exit []byte) {
			w.tags = [][]byte{code(0, w.typ("", ""))}
			w.start(0, opBlock, opEmpty, opTryTable, opEmpty, 1, 2, 0, c32(7), exit, opEnd, opEnd, c32(8), exit)
		}},
		{"all bits", 1<<32 - 1, func(w *wasm, exit []byte) { w.start(0, c32(-1), exit) }},
		{"zero", 0, func(w *wasm, exit []byte) { w.start(0, c32(0), exit, opUnreachable) }},
		{"zero in the start function", 0, func(w *wasm, exit []byte) {
			w.init = w.fn("", "", 0, c32(0), exit)
			w.start(0, opUnreachable)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWasm(1)
			c.build(w, call(w.wasi("proc_exit")))
			r := newBench(t, nil).run(ask{module: w.bytes()})
			if r.Exit == nil || *r.Exit != c.code || (r.Status == "ok") != (c.code == 0) {
				t.Errorf("got %s %s, exit %v, want %d", r.Status, r.Message, r.Exit, c.code)
			}
		})
	}
}

// Modules that would reach for the meter are refused.
func TestModulesThatReachForTheMeter(t *testing.T) {
	b := newBench(t, nil)
	refill := newWasm(1)
	refill.imp("agenthost_meter", "refill", string([]byte{i64}), string([]byte{i64}))
	dir := t.TempDir()
	if err := errors.Join(
		os.WriteFile(dir+"/manifest.json", []byte(`{"schema":"agenthost/package/v1","id":"PKG-X","version":"1.0.0","entry":{"module":"agent.wasm"}}`), 0o644),
		os.WriteFile(dir+"/agent.wasm", refill.start(0).bytes(), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	_, err := archive.FromFolder(dir)
	var fault *archive.PackageError
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), "agenthost_meter.refill") || fault.Hint != "only agenthost itself adds this import: pack the module as it was built" {
		t.Errorf("got %v", err)
	}

	// The meter's global would be the first one after the module's own.
	for _, c := range []struct {
		name string
		w    *wasm
	}{
		{"reads its global", newWasm(1).start(0, opGlobalGet, 0, opDrop)},
		{"sets its global", newWasm(1).start(0, forever(c64(1<<40), opGlobalSet, 0))},
		{"calls its function", newWasm(1).start(0, call(1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			_, err := b.tryPrepare(ask{module: c.w.bytes()})
			var m *ModuleError
			if !errors.As(err, &m) || m.Stage != "validate" || !strings.HasPrefix(err.Error(), "the module cannot be run: it is not valid: ") {
				t.Errorf("got %v, want that it is not valid", err)
			}
		})
	}
}

// Whatever becomes of a start function, nothing stays open.
func TestNothingStaysOpen(t *testing.T) {
	w := newWasm(1)
	read, create := opener(w)
	w.init = w.fn("", "", 0, read, create, opUnreachable)
	w.start(0)
	b := newBench(t, map[string]string{"x": strings.Repeat("large", 1<<19)})
	manifest := with(grants([]string{"**"}, nil, nil), writes("out/**"))
	b.run(ask{module: w.bytes(), manifest: manifest})
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close what was forgotten
	before := descriptors(t)
	for range 5 {
		r := b.run(ask{module: w.bytes(), manifest: manifest})
		if r.Code != "trap" {
			t.Fatalf("got %s %s", r.Code, r.Message)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	return len(must(os.ReadDir("/proc/self/fd"))(t))
}
