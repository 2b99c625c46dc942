package meter

// Sizes beyond which a module is refused. They are those of https://webassembly.github.io/spec/js-api/#limits, which
// every toolchain has to live with, so that no honest module meets them.
const (
	maxModule   = 1 << 30
	maxEntries  = 1_000_000 // types, imports, functions, globals, exports
	maxSegments = 100_000
	maxTables   = 100_000
	maxInit     = 10_000_000 // elements in one segment
	maxParams   = 1_000      // and results
	maxBody     = 7_654_321  // bytes of one function
	maxLocals   = 50_000
)

// Sections by their number. https://webassembly.github.io/spec/core/binary/modules.html#sections
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sectionTag
)

// sectionOrder gives the place in the file of each section but the custom ones, which stand anywhere.
var sectionOrder = [...]int{
	sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5, sectionTag: 6,
	sectionGlobal: 7, sectionExport: 8, sectionStart: 9, sectionElement: 10, sectionDataCount: 11, sectionCode: 12,
	sectionData: 13,
}

// Kinds of imports and exports by their number in the binary.
const (
	externFunc = iota
	externTable
	externMemory
	externGlobal
	externTag
)

// A module is everything a binary says outside of its functions' bodies.
//
// Indices in it are those of the input; constant expressions are kept ready to be written, with the indices of the
// output (see outIndex).
type module struct {
	types   []funcType
	imports []importEntry
	tables  []tableType
	memory  *limits // the module's own
	tags    []uint32
	globals []globalEntry
	exports []exportEntry
	start   *uint32
	elems   []elemSegment
	bodies  []body
	data    []dataSegment
	names   *nameSection // nil when there is none, or none that makes sense

	dataCount bool
	tablesAt  int // in the file

	// Of the input:
	importedFuncs uint32
	funcTypes     []uint32        // by function index, imports first
	globalTypes   []globalType    // by global index
	tableTypes    []tableType     // by table index
	tagCount      uint32          // imports and own
	memories      []limits        // by memory index: at most one
	taken         map[uint32]bool // functions that may be called by reference

	// Found by analysis:
	flow    []flow // by function, without the imported ones
	maxFree int64  // the most a call by reference may cost its caller beyond the call
}

type importEntry struct {
	offset       int // in the file
	module, name string
	kind         byte
	typ          uint32 // of a function or tag
	table        tableType
	memory       limits
	global       globalType
}

type limits struct {
	min, max uint32
	hasMax   bool
}

type tableType struct {
	ref valueType
	limits
}

type globalType struct {
	typ     valueType
	mutable bool
}

type globalEntry struct {
	globalType
	init []byte
}

type exportEntry struct {
	name  string
	kind  byte
	index uint32
}

// An elemSegment is kept as it is written, but for the functions it lists.
type elemSegment struct {
	head  []byte // flags, table, offset, kind or type
	count uint32
	init  []byte
}

type dataSegment struct {
	head []byte // flags, offset
	init []byte
}

// A body is one function's code, not looked into.
type body struct {
	start, end int // in the file
}

type nameSection struct {
	module string
	funcs  []funcName
}

type funcName struct {
	index uint32
	name  string
}

// outIndex is the index in the output of a function of the input: refill comes in as the last function imported.
func (m *module) outIndex(f uint32) uint32 {
	if f >= m.importedFuncs {
		return f + 1
	}
	return f
}

func (m *module) typeOf(f uint32) funcType { return m.types[m.funcTypes[f]] }

// magic is how a module of version 1 begins. https://webassembly.github.io/spec/core/binary/modules.html#binary-module
const magic = "\x00asm\x01\x00\x00\x00"

// parse reads a whole module but for its functions' bodies.
func parse(wasm []byte) (*module, error) {
	switch {
	case len(wasm) < 4 || string(wasm[:4]) != magic[:4]:
		return nil, ErrNotWasm
	case len(wasm) < 8:
		return nil, &MalformedError{Offset: len(wasm), Reason: "unexpected end"}
	case string(wasm[4:8]) == "\x0d\x00\x01\x00":
		return nil, ErrComponent
	case string(wasm[:8]) != magic:
		return nil, &MalformedError{Offset: 4, Reason: "not version 1"}
	case len(wasm) > maxModule:
		return nil, &UnsupportedError{Offset: maxModule, Feature: "a module of more than 1 GiB"}
	}
	m := &module{taken: map[uint32]bool{}}
	r := &reader{b: wasm, pos: 8}
	last := 0
	for r.more() {
		id := r.byte()
		s := r.part(r.u32())
		if r.err != nil {
			break
		}
		if id != sectionCustom {
			if int(id) >= len(sectionOrder) {
				s.malformed("section %d", id)
			} else if sectionOrder[id] <= last {
				s.malformed("section %d twice or out of order", id)
			} else {
				last = sectionOrder[id]
			}
		}
		m.section(id, s)
		if s.end(); s.err != nil {
			return nil, s.err
		}
	}
	if r.err == nil && len(m.bodies) != len(m.funcTypes)-int(m.importedFuncs) {
		r.malformed("%d functions with %d bodies", len(m.funcTypes)-int(m.importedFuncs), len(m.bodies))
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

func (m *module) section(id byte, r *reader) {
	each := func(what string, limit uint32, read func()) {
		for n := r.count(what, limit); n > 0 && r.err == nil; n-- {
			read()
		}
	}
	switch id {
	case sectionCustom:
		m.custom(r)
	case sectionType:
		each("types", maxEntries, func() { m.types = append(m.types, r.funcType()) })
	case sectionImport:
		each("imports", maxEntries, func() { m.readImport(r) })
	case sectionFunction:
		each("functions", maxEntries, func() {
			m.funcTypes = append(m.funcTypes, r.index("type", uint32(len(m.types))))
		})
	case sectionTable:
		m.tablesAt = r.pos
		each("tables", maxTables, func() {
			m.tables = append(m.tables, r.tableType())
			m.tableTypes = append(m.tableTypes, m.tables[len(m.tables)-1])
		})
	case sectionMemory:
		each("memories", maxEntries, func() {
			l := r.memoryType()
			m.memory = &l
			m.addMemory(r, l)
		})
	case sectionTag:
		each("tags", maxEntries, func() {
			m.tags = append(m.tags, m.readTag(r))
			m.tagCount++
		})
	case sectionGlobal:
		each("globals", maxEntries, func() {
			g := globalEntry{globalType: r.globalType()}
			g.init = m.constant(r, nil)
			m.globals = append(m.globals, g)
			m.globalTypes = append(m.globalTypes, g.globalType)
		})
	case sectionExport:
		each("exports", maxEntries, func() { m.readExport(r) })
	case sectionStart:
		f := r.index("function", uint32(len(m.funcTypes)))
		m.start = &f
	case sectionElement:
		each("element segments", maxSegments, func() { m.readElements(r) })
	case sectionDataCount:
		r.u32()
		m.dataCount = true
	case sectionCode:
		each("bodies", maxEntries, func() {
			n := r.u32()
			if n > maxBody {
				r.unsupported("a function of %d bytes, more than %d", n, maxBody)
			}
			from := r.pos
			r.bytes(n)
			m.bodies = append(m.bodies, body{from, r.pos})
		})
	case sectionData:
		each("data segments", maxSegments, func() { m.readData(r) })
	}
}

func (m *module) readImport(r *reader) {
	i := importEntry{offset: r.pos}
	i.module, i.name, i.kind = r.name(), r.name(), r.byte()
	switch i.kind {
	case externFunc:
		i.typ = r.index("type", uint32(len(m.types)))
		m.funcTypes = append(m.funcTypes, i.typ)
		m.importedFuncs++
	case externTable:
		i.table = r.tableType()
		m.tableTypes = append(m.tableTypes, i.table)
	case externMemory:
		i.memory = r.memoryType()
		m.addMemory(r, i.memory)
	case externGlobal:
		i.global = r.globalType()
		m.globalTypes = append(m.globalTypes, i.global)
	case externTag:
		i.typ = m.readTag(r)
		m.tagCount++
	default:
		r.malformed("import of kind %d", i.kind)
	}
	m.imports = append(m.imports, i)
}

func (m *module) addMemory(r *reader, l limits) {
	if m.memories = append(m.memories, l); len(m.memories) > 1 {
		r.unsupported("more than one memory (multi-memory)")
	}
}

func (m *module) readTag(r *reader) uint32 {
	if b := r.byte(); b != 0 {
		r.malformed("tag of kind %d", b)
	}
	return r.index("type", uint32(len(m.types)))
}

func (m *module) readExport(r *reader) {
	e := exportEntry{name: r.name(), kind: r.byte()}
	switch e.kind {
	case externFunc:
		e.index = r.index("function", uint32(len(m.funcTypes)))
	case externTable:
		e.index = r.index("table", uint32(len(m.tableTypes)))
	case externMemory:
		e.index = r.index("memory", uint32(len(m.memories)))
	case externGlobal:
		e.index = r.index("global", uint32(len(m.globalTypes)))
	case externTag:
		e.index = r.index("tag", m.tagCount)
	default:
		r.malformed("export of kind %d", e.kind)
	}
	m.exports = append(m.exports, e)
}

func (r *reader) tableType() (t tableType) {
	if r.more() && r.b[r.pos] == 0x40 {
		r.unsupported("table initializers (typed function references)")
	}
	t.ref = r.valueType()
	switch t.ref {
	case typeI32, typeI64, typeF32, typeF64, typeV128:
		r.malformed("a table of %s", t.ref)
	}
	t.limits = r.limits(r.byte())
	return t
}

func (r *reader) memoryType() limits {
	flags := r.byte()
	switch {
	case flags >= 0x10:
		r.malformed("memory limits 0x%02x", flags)
	case flags&8 != 0:
		r.unsupported("custom page sizes")
	case flags&4 != 0:
		r.unsupported("memory64")
	case flags&2 != 0:
		r.unsupported("threads (shared memory)")
	}
	return r.limits(flags)
}

// limits reads what follows the flags. https://webassembly.github.io/spec/core/binary/types.html#limits
func (r *reader) limits(flags byte) (l limits) {
	switch {
	case flags&4 != 0:
		r.unsupported("memory64 (64-bit limits)")
	case flags > 1:
		r.malformed("limits 0x%02x", flags)
	}
	l.min = r.u32()
	if l.hasMax = flags&1 != 0; l.hasMax {
		if l.max = r.u32(); l.max < l.min {
			r.malformed("minimum %d above maximum %d", l.min, l.max)
		}
	}
	return l
}

func (r *reader) globalType() globalType {
	t := globalType{typ: r.valueType()}
	switch b := r.byte(); b {
	case 0:
	case 1:
		t.mutable = true
	default:
		r.malformed("mutability %d", b)
	}
	return t
}
