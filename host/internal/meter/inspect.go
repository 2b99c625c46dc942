package meter

// A Kind is what an import or export is.
type Kind string

// The kinds there are.
const (
	KindFunc   Kind = "func"
	KindTable  Kind = "table"
	KindMemory Kind = "memory"
	KindGlobal Kind = "global"
	KindTag    Kind = "tag"
)

var kinds = [...]Kind{externFunc: KindFunc, externTable: KindTable, externMemory: KindMemory, externGlobal: KindGlobal, externTag: KindTag}

// A Module is what is to be known of a module before it runs.
type Module struct {
	Imports []Import
	Exports []Export
	Memory  *Limits  // nil: none. In pages of 64 KiB
	Tables  []Limits // in elements
	Start   bool     // whether instantiation runs code of the module
}

// An Import is what a module wants from its host.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         string // of a function: "(i32, i64) -> i32", "() -> ()"; else empty
}

// An Export is what a module offers. Names are unique in valid modules only.
type Export struct {
	Name string
	Kind Kind
	Type string // as of an Import
}

// Limits bound a memory or table.
type Limits struct {
	Min    uint32
	Max    uint32 // if HasMax
	HasMax bool
}

// Inspect reads what a module declares, imported memories and tables included. It is safe on any input: time and memory
// are bounded by a small multiple of its size. It does not look into functions, so it accepts many invalid modules.
//
// Errors are those of Inject.
func Inspect(wasm []byte) (*Module, error) {
	m, err := parse(wasm)
	if err != nil {
		return nil, err
	}
	// One string for each type, however often it is named.
	texts := make([]string, len(m.types))
	text := func(typ uint32) string {
		if texts[typ] == "" {
			texts[typ] = m.types[typ].String()
		}
		return texts[typ]
	}
	out := &Module{Start: m.start != nil}
	for _, i := range m.imports {
		e := Import{Module: i.module, Name: i.name, Kind: kinds[i.kind]}
		if i.kind == externFunc {
			e.Type = text(i.typ)
		}
		out.Imports = append(out.Imports, e)
	}
	for _, e := range m.exports {
		x := Export{Name: e.name, Kind: kinds[e.kind]}
		if e.kind == externFunc {
			x.Type = text(m.funcTypes[e.index])
		}
		out.Exports = append(out.Exports, x)
	}
	for _, l := range m.memories {
		out.Memory = &Limits{Min: l.min, Max: l.max, HasMax: l.hasMax}
	}
	for _, t := range m.tableTypes {
		out.Tables = append(out.Tables, Limits{Min: t.min, Max: t.max, HasMax: t.hasMax})
	}
	return out, nil
}
