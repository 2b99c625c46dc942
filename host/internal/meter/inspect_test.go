package meter

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
)

func TestInspect(t *testing.T) {
	wasm := sections(
		1, "\x04\x60\x00\x00\x60\x02\x7f\x7e\x01\x7f\x60\x01\x7b\x02\x70\x6f\x60\x01\x64\x70\x01\x63\x69",
		2, "\x07\x03env\x01a\x00\x00\x03env\x01b\x00\x01\x03env\x01c\x00\x02\x03env\x01d\x00\x03"+
			"\x03env\x01m\x02\x01\x02\x10\x03env\x01t\x01\x70\x00\x05\x03env\x01g\x03\x7f\x00",
		3, "\x01\x01",
		4, "\x01\x6f\x01\x01\x03",
		7, "\x03\x03run\x00\x04\x06memory\x02\x00\x01g\x03\x00",
		8, "\x00",
		10, "\x01\x04\x00\x41\x00\x0b",
	)
	got, err := Inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	want := &Module{
		Imports: []Import{
			{"env", "a", KindFunc, "() -> ()"},
			{"env", "b", KindFunc, "(i32, i64) -> i32"},
			{"env", "c", KindFunc, "(v128) -> (funcref, externref)"},
			{"env", "d", KindFunc, "((ref func)) -> (ref null exn)"},
			{"env", "m", KindMemory, ""},
			{"env", "t", KindTable, ""},
			{"env", "g", KindGlobal, ""},
		},
		Exports: []Export{{"run", KindFunc, "(i32, i64) -> i32"}, {"memory", KindMemory, ""}, {"g", KindGlobal, ""}},
		Memory:  &Limits{Min: 2, Max: 16, HasMax: true},
		Tables:  []Limits{{Min: 5}, {Min: 1, Max: 3, HasMax: true}},
		Start:   true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	empty, err := Inspect([]byte(magic))
	if err != nil || !reflect.DeepEqual(empty, &Module{}) {
		t.Errorf("the empty module: %+v, %v", empty, err)
	}
}

// TestInspectMetered: what Inject adds is what it says, and nothing else changes.
func TestInspectMetered(t *testing.T) {
	before, err := Inspect(countdown)
	if err != nil {
		t.Fatal(err)
	}
	out, report, err := Inject(countdown, Config{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Inspect(out)
	if err != nil {
		t.Fatal(err)
	}
	before.Imports = append(before.Imports, Import{ImportModule, ImportName, KindFunc, "(i64) -> i64"})
	before.Tables[0].Max, before.Tables[0].HasMax = DefaultTableElements, true
	if !reflect.DeepEqual(before, after) {
		t.Errorf("got  %+v\nwant %+v", after, before)
	}
	if want := (Report{Global: 1, Functions: 1, Counted: 1, Payments: report.Payments, Checks: report.Checks}); report != want {
		t.Errorf("got %+v, want %+v", report, want)
	}
	// What is metered is refused: the import is the meter's.
	if _, _, err := Inject(out, Config{}); err == nil {
		t.Error("metered twice")
	}
}

// TestMemoryOfInspect: counts that promise more than follows allocate nothing.
func TestMemoryOfInspect(t *testing.T) {
	for id := range 14 {
		for _, body := range []string{"\xff\xff\xff\xff\x0f", "\xff\xff\xff\x07", "\x01\xff\xff\xff\xff\x0f", "\x01\x60\xff\xff\xff\xff\x0f"} {
			wasm := sections(id, body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = Inspect(wasm)
			runtime.ReadMemStats(&after)
			allocated := after.TotalAlloc - before.TotalAlloc
			if allocated > 1<<16 {
				t.Errorf("section %d, % x: %d bytes", id, body, allocated)
			}
		}
	}
}

func ExampleInspect() {
	m, err := Inspect([]byte("\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x01\x7f\x00\x02\x0c\x01\x03env\x04exit\x00\x00"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, i := range m.Imports {
		fmt.Println(i.Module, i.Name, i.Kind, i.Type)
	}
	// Output: env exit func (i32) -> ()
}
