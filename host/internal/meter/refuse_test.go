package meter

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// code is run with raw bytes.
func raw(b ...byte) []byte {
	return run(func(a *asm) { *a = append(*a, b...) })
}

func TestRefused(t *testing.T) {
	const (
		refill = "\x01\x0fagenthost_meter\x06refill\x00\x00"
		typ    = "\x01\x60\x01\x7e\x01\x7e"
	)
	zeros := string(make([]byte, 16))
	for _, c := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"empty", nil, "not a WebAssembly binary"},
		{"text", []byte("(module)"), "not a WebAssembly binary"},
		{"cut in the header", []byte("\x00asm\x01\x00"), "malformed at offset 6: unexpected end"},
		{"version 2", []byte("\x00asm\x02\x00\x00\x00"), "malformed at offset 4: not version 1"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "a WebAssembly component, not a core module"},
		{"its own refill", sections(1, typ, 2, refill), "not supported at offset 19: an import from agenthost_meter, which only the meter adds"},
		{"cut in a section", []byte(magic + "\x01\x05\x00"), "malformed at offset 10: unexpected end"},
		{"bytes behind a section", sections(1, "\x00\x00"), "malformed at offset 11: 1 bytes too many"},
		{"section 14", sections(14, "\x00"), "malformed at offset 10: section 14"},
		{"two type sections", sections(1, "\x00", 1, "\x00"), "malformed at offset 13: section 1 twice or out of order"},
		{"types after imports", sections(2, "\x00", 1, "\x00"), "malformed at offset 13: section 1 twice or out of order"},
		{"4 G imports in 16 bytes", sections(2, "\xff\xff\xff\xff\x0f"), "malformed at offset 15: 4294967295 imports in 0 bytes"},
		{"a function without body", sections(1, typ, 3, "\x01\x00"), "malformed at offset 20: 1 functions with 0 bodies"},
		{"a name that is not UTF-8", sections(2, "\x01\x01\xff\x01a\x03\x7f\x00"), "malformed at offset 13: a name that is not UTF-8"},

		{"shared memory", sections(5, "\x01\x03\x01\x02"), "not supported at offset 12: threads (shared memory)"},
		{"memory64", sections(5, "\x01\x04\x01"), "not supported at offset 12: memory64"},
		{"page sizes", sections(5, "\x01\x08\x01\x00"), "not supported at offset 12: custom page sizes"},
		{"two memories", sections(5, "\x02\x00\x01\x00\x01"), "not supported at offset 15: more than one memory (multi-memory)"},
		{"table64", sections(4, "\x01\x70\x04\x01"), "not supported at offset 13: memory64 (64-bit limits)"},
		{"table initializer", sections(4, "\x01\x40\x00\x70\x00\x01\xd0\x70\x0b"), "not supported at offset 11: table initializers (typed function references)"},
		{"too large a table", sections(4, "\x01\x70\x00\x81\x80\x40"), "not supported at offset 10: tables of 1048577 elements together, more than 1048576"},
		{"recursive types", sections(1, "\x01\x4e\x00"), "not supported at offset 12: recursive types (garbage collection)"},
		{"struct types", sections(1, "\x01\x5f\x00"), "not supported at offset 12: struct, array and sub types (garbage collection)"},
		{"anyref", sections(1, "\x01\x60\x01\x6e\x00"), "not supported at offset 14: reference type 0x6e (garbage collection)"},
		{"a typed reference", sections(1, "\x01\x60\x01\x63\x00\x00"), "not supported at offset 15: typed function references (a reference to type 0)"},

		{"legacy try", raw(0x06, 0x40, 0x0b), "legacy exception handling (opcode 0x06); build with exnref, or translate with wasm-opt --translate-to-exnref"},
		{"legacy catch_all", raw(0x19), "legacy exception handling (opcode 0x19); build with exnref, or translate with wasm-opt --translate-to-exnref"},
		{"call_ref", raw(0x14, 0), "typed function references (opcode 0x14)"},
		{"br_on_null", raw(0xd5, 0), "typed function references (opcode 0xd5)"},
		{"ref.eq", raw(0xd3), "garbage collection (ref.eq)"},
		{"struct.new", raw(0xfb, 0, 0), "garbage collection (opcode 0xfb 0)"},
		{"wait32", raw(0xfe, 1, 2, 0), "threads (memory.atomic.wait32)"},
		{"wait64", raw(0xfe, 2, 2, 0), "threads (memory.atomic.wait64)"},
		{"notify", raw(0xfe, 0, 2, 0), "threads (memory.atomic.notify)"},
		{"atomic add", raw(0xfe, 0x1e, 2, 0), "threads (opcode 0xfe 30)"},
		{"relaxed SIMD", raw(0xfd, 0x80, 2), "relaxed SIMD (opcode 0xfd 256)"},
		{"a hole in SIMD", raw(0xfd, 0x9a, 1), "opcode 0xfd 154"},
		{"wide arithmetic", raw(0xfc, 19), "wide arithmetic (opcode 0xfc 19)"},
		{"0xfc 99", raw(0xfc, 99), "opcode 0xfc 99"},
		{"0xff", raw(0xff), "opcode 0xff"},
		{"a load from memory 1", raw(0x41, 0, 0x28, 0x40, 1, 0), "an access that names its memory (multi-memory)"},
		{"memory.size of memory 1", raw(0x3f, 1), "memory 1 (multi-memory)"},
		{"v128.const in a long opcode", raw([]byte("\xfd\x8c\x00" + zeros)...), "an opcode in more bytes than it needs (0xfd 12)"},

		{"no end", raw(0x02, 0x40), "unexpected end"},
		{"code behind the end", raw(0x0b), "1 bytes too many"},
		{"else without if", raw(0x05), "else without if"},
		{"two elses", raw(0x41, 0, 0x04, 0x40, 0x05, 0x05, 0x0b), "else without if"},
		{"a branch too far", raw(0x0c, 1), "branch to label 1 of 1"},
		{"a catch too far", raw(0x1f, 0x40, 1, 2, 1, 0x0b), "branch to label 1 of 1"},
		{"a block of a type that is not there", raw(0x02, 5, 0x0b), "type 5 of 5"},
		{"select of two types", raw(0x1c, 2, 0x7f, 0x7f), "select of 2 types"},
		{"memory.init without a count of data", raw(0xfc, 8, 0, 0), "no data count section"},

		// What the meter adds has the next index, and must not come to be meant.
		{"global.get of the counter", raw(0x23, 1, 0x1a), "global 1 of 1"},
		{"global.set of the counter", raw(0x42, 0, 0x24, 1), "global 1 of 1"},
		{"export of the counter", sections(6, "\x01\x7e\x01\x42\x00\x0b", 7, "\x01\x01a\x03\x01"), "global 1 of 1"},
		{"data at the counter", sections(5, "\x01\x00\x01", 11, "\x01\x00\x23\x00\x0b\x00"), "global 0 of 0"},
		{"call of slow", raw(0x10, 1), "function 1 of 1"},
		{"ref.func of slow", raw(0xd2, 1, 0x1a), "function 1 of 1"},
		{"export of slow", sections(7, "\x01\x01a\x00\x00"), "function 0 of 0"},
		{"start of slow", sections(8, "\x00"), "function 0 of 0"},
		{"slow in a table", sections(4, "\x01\x70\x00\x01", 9, "\x01\x00\x41\x00\x0b\x01\x00"), "function 0 of 0"},
		{"the depth kept in a local", raw(0x1f, 0x40, 0, 0x0b, 0x20, 1, 0x1a), "local 1 of 1"},
	} {
		out, _, err := Inject(c.wasm, Config{})
		if err == nil || out != nil {
			t.Errorf("%s: not refused", c.name)
			continue
		}
		// Where the code of raw begins is of no interest: then want is the end only.
		if got := err.Error(); got != c.want && !strings.HasSuffix(got, ": "+c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
		if !strings.Contains(c.name, "own refill") && strings.HasPrefix(c.want, "not supported") || strings.HasPrefix(c.want, "malformed") {
			_, inspected := Inspect(c.wasm)
			if c.name != "too large a table" && (inspected == nil || inspected.Error() != err.Error()) {
				t.Errorf("%s: Inspect says %v", c.name, inspected)
			}
		}
	}
}

func TestErrorsCanBeTold(t *testing.T) {
	var malformed *MalformedError
	var unsupported *UnsupportedError
	for _, c := range []struct {
		wasm string
		is   func(error) bool
	}{
		{"MZ", func(err error) bool { return errors.Is(err, ErrNotWasm) }},
		{"\x00asm\x0d\x00\x01\x00", func(err error) bool { return errors.Is(err, ErrComponent) }},
		{magic + "\x01", func(err error) bool { return errors.As(err, &malformed) && malformed.Offset == 9 }},
		{magic + "\x05\x03\x01\x04\x01", func(err error) bool { return errors.As(err, &unsupported) && unsupported.Feature == "memory64" }},
	} {
		if _, err := Inspect([]byte(c.wasm)); !c.is(err) {
			t.Errorf("%q: got %v", c.wasm, err)
		}
	}
}

// TestLimits: sizes no honest module has.
func TestLimits(t *testing.T) {
	locals := func(n uint32) []byte {
		return run(func(a *asm) { a.i64(0) }, localGroup{n, typeI32})
	}
	if _, _, err := Inject(locals(maxLocals-1), Config{}); err != nil { // one is the parameter
		t.Error(err)
	}
	for _, n := range []uint32{maxLocals, 1 << 31, 1<<32 - 1} {
		var u *UnsupportedError
		if _, _, err := Inject(locals(n), Config{}); !errors.As(err, &u) {
			t.Errorf("%d locals: %v", n, err)
		}
	}
	long := func(n int) []byte {
		return run(func(a *asm) {
			*a = append(*a, bytes.Repeat([]byte{byte(opNop)}, n)...)
			a.i64(0)
		})
	}
	if _, _, err := Inject(long(maxBody-4), Config{}); err != nil {
		t.Error(err)
	}
	_, _, err := Inject(long(maxBody-3), Config{})
	if err == nil || !strings.HasSuffix(err.Error(), "a function of 7654322 bytes, more than 7654321") {
		t.Error(err)
	}
}

// TestHiddenCode: numbers longer than need be, which engines may take apart differently, come out in their short form.
func TestHiddenCode(t *testing.T) {
	for _, c := range []struct {
		name      string
		long      []byte
		wantShort []byte
	}{
		{"block type", []byte{0x02, 0xc0, 0x7f, 0x0b, 0x42, 0}, []byte{0x02, 0x40, 0x0b, 0x42, 0}},
		{"block of (ref null func)", []byte{0x02, 0xe3, 0x7f, 0xf0, 0x7f, 0xd0, 0x70, 0x0b, 0x1a, 0x42, 0}, []byte{0x02, 0x63, 0x70, 0xd0, 0x70, 0x0b, 0x1a, 0x42, 0}},
		{"select", []byte{0x42, 0, 0x42, 1, 0x20, 0, 0x1c, 0x81, 0x00, 0x7e}, []byte{0x42, 0, 0x42, 1, 0x20, 0, 0x1c, 1, 0x7e}},
		{"ref.null", []byte{0xd0, 0xf0, 0x7f, 0x1a, 0x42, 0}, []byte{0xd0, 0x70, 0x1a, 0x42, 0}},
		{"constants", []byte{0x41, 0xff, 0x7f, 0x1a, 0x42, 0x80, 0x00}, []byte{0x41, 0x7f, 0x1a, 0x42, 0}},
		{"saturating conversion", []byte{0x43, 0, 0, 0, 0, 0xfc, 0x84, 0x00}, []byte{0x43, 0, 0, 0, 0, 0xfc, 4}},
		{"load", []byte{0x20, 0, 0x29, 0x83, 0x00, 0x88, 0x80, 0x00}, []byte{0x20, 0, 0x29, 3, 8}},
	} {
		out := inject(t, raw(c.long...))
		if !bytes.Contains(out, append(c.wantShort, byte(opEnd))) {
			t.Errorf("%s: % x is not in % x", c.name, c.wantShort, out)
		}
	}
}

// TestEmptyArmFirst pins the order of the arms of every check: see added.check.
func TestEmptyArmFirst(t *testing.T) {
	at := added{global: 7, slow: 9}
	var fuel, deep asm
	at.check(&fuel, false, noMirror)
	at.check(&deep, true, noMirror)
	if got, want := []byte(fuel), []byte{
		0x23, 7, 0xa7, 0x41, 0, 0x4e, // global.get 7, i32.wrap_i64, i32.const 0, i32.ge_s
		0x04, 0x40, 0x05, 0x10, 9, 0x0b, // if else call 9 end
	}; !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	if want := []byte{0x04, 0x40, 0x05, 0x10, 9, 0x0b}; !bytes.HasSuffix(deep, want) {
		t.Errorf("got % x, want it to end in % x", []byte(deep), want)
	}
	// With a mirror the answer of the host goes there, too.
	var mirrored asm
	at.check(&mirrored, false, 3)
	if got, want := []byte(mirrored), []byte{
		0x20, 3, 0xa7, 0x41, 0, 0x4e, // local.get 3 …
		0x04, 0x40, 0x05, 0x10, 9, 0x23, 7, 0x21, 3, 0x0b, // if else call 9 global.get 7 local.set 3 end
	}; !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	// As it stands in a module: global 1, slow is function 2, after refill and run.
	out := inject(t, endless["loop"])
	check := []byte{0x23, 1, 0xa7, 0x41, 0, 0x4e, 0x04, 0x40, 0x05, 0x10, 2, 0x0b}
	if n := bytes.Count(out, check); n < 2 {
		t.Errorf("%d checks in the module", n)
	}
}

func TestTablesAreBounded(t *testing.T) {
	two := sections(4, "\x02\x70\x00\x0a\x6f\x01\x05\x80\x80\x80\x80\x08")
	out, _, err := Inject(two, Config{TableElements: 115})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Inspect(out)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Limits{{10, 60, true}, {5, 55, true}} {
		if m.Tables[i] != want {
			t.Errorf("table %d: got %v, want %v", i, m.Tables[i], want)
		}
	}
	// Growing fails as it does, with the charge of what was asked for bounded.
	grow := run(func(a *asm) {
		a.op(opRefNull)
		*a = append(*a, byte(typeFuncref))
		a.get(0)
		a.with(opTableGrow, 0)
		a.op(opI64ExtendU)
	})
	h := newHost(t, "compiler", AccountConfig{})
	inst := h.instance(t, inject(t, grow))
	for _, c := range []struct{ by, want uint64 }{{5, 10}, {1 << 31, 0xffffffff}, {1<<20 - 15, 15}, {1, 0xffffffff}} {
		if got, err := h.call(inst, "run", c.by); err != nil || got[0] != c.want {
			t.Errorf("table.grow by %d: %v %v, want %d", c.by, got, err, c.want)
		}
	}
	if used := h.used(inst); used < 2<<20 || used > 3<<20 {
		t.Errorf("used %d units", used)
	}
}
