package meter

import (
	"fmt"
	"slices"
)

// Version is the number of the scheme: modules injected by another version count differently. It belongs into the key of
// whatever caches injected or compiled modules, and into the record of a run.
const Version = 2

// The import of an injected module, which must not have had any from ImportModule before.
const (
	ImportModule = "agenthost_meter"
	ImportName   = "refill"
)

// DefaultTableElements is Config.TableElements when that is 0.
const DefaultTableElements = 1 << 20

// A Config bounds what a module may do beyond what is metered. The zero value is strict enough.
type Config struct {
	// TableElements is how many elements all tables of a module may have together; at most 10,000,000. A module that
	// begins with more is refused; growing beyond fails as table.grow fails. 0: DefaultTableElements.
	TableElements uint32
}

// A Report says what Inject did.
type Report struct {
	Global    uint32 // index of the counter, which is the last global of an instance
	Functions int    // of the module's own, and of these:
	Counted   int    // with their depth counted
	Free      int    // small ones, paid by their callers
	Payments  int    // places that pay
	Checks    int    // places that may call the host
}

// Inject returns the module with the meter in it, as the package comment describes. It does not change wasm.
//
// wasm must be valid, which Inject does not find out as a whole; what is returned for a valid module is valid, and should
// be validated again all the same. It is safe on any input: time is proportional to its size, memory too, with up to some
// 100 bytes for each byte of the largest function. That is not so of engines, neither before nor after: wazero allocates
// what counts, locals and custom sections promise. Inject refuses the worst of these modules, but not all.
//
// Errors are ErrNotWasm, ErrComponent, *MalformedError, and *UnsupportedError for what cannot be metered.
func Inject(wasm []byte, config Config) ([]byte, Report, error) {
	if config.TableElements == 0 {
		config.TableElements = DefaultTableElements
	}
	config.TableElements = min(config.TableElements, maxInit)
	m, err := parse(wasm)
	if err != nil {
		return nil, Report{}, err
	}
	for _, i := range m.imports {
		if i.module == ImportModule {
			return nil, Report{}, &UnsupportedError{Offset: i.offset, Feature: "an import from " + ImportModule + ", which only the meter adds"}
		}
	}
	if err := m.clampTables(config.TableElements); err != nil {
		return nil, Report{}, err
	}
	w := &writer{module: m, config: config}
	out, err := w.write(wasm)
	if err != nil {
		return nil, Report{}, err
	}
	return out, w.report, nil
}

// clampTables gives every table of the module's own a maximum. What the minimums leave of the elements is shared out
// evenly, so that many tables are no way around the bound.
func (m *module) clampTables(elements uint32) error {
	if len(m.tables) == 0 {
		return nil
	}
	var sum uint64
	for _, t := range m.tables {
		sum += uint64(t.min)
	}
	if sum > uint64(elements) {
		return &UnsupportedError{
			Offset:  m.tablesAt,
			Feature: fmt.Sprintf("tables of %d elements together, more than %d", sum, elements),
		}
	}
	share := (elements - uint32(sum)) / uint32(len(m.tables))
	for i := range m.tables {
		t := &m.tables[i]
		if most := t.min + share; !t.hasMax || t.max > most {
			t.max, t.hasMax = most, true
		}
	}
	return nil
}

// A writer puts the output together, section by section.
type writer struct {
	*module
	config Config
	report Report

	at    added
	funcs []addedFunc
	byKey map[string]uint32 // types by what they say
	out   []byte
}

func (w *writer) write(wasm []byte) ([]byte, error) {
	w.prepare()
	// The code comes first: it may need types of its own.
	code, err := w.code(wasm)
	if err != nil {
		return nil, err
	}
	return w.assemble(code), nil
}

// prepare gives what is added its indices.
func (w *writer) prepare() {
	w.at.global = uint32(len(w.globalTypes))
	w.at.refill = w.importedFuncs
	first := uint32(len(w.funcTypes)) + 1
	// Twice, because the bodies name each other's indices, which the first time fixes.
	w.at.functions(first, w.config, len(w.memories) > 0)
	w.funcs = w.at.functions(first, w.config, len(w.memories) > 0)
	w.report.Global = w.at.global
	w.report.Functions = len(w.bodies)
	w.byKey = make(map[string]uint32, len(w.types))
	for i, t := range slices.Backward(w.types) {
		w.byKey[t.key] = uint32(i)
	}
}

// assemble writes the module around its code section.
func (w *writer) assemble(code []byte) []byte {
	refill := w.typeIndex([]valueType{typeI64}, []valueType{typeI64})
	funcs := appendUnsigned(nil, uint64(len(w.bodies)+len(w.funcs)))
	for _, t := range w.funcTypes[w.importedFuncs:] {
		funcs = appendUnsigned(funcs, uint64(t))
	}
	for _, f := range w.funcs {
		funcs = appendUnsigned(funcs, uint64(w.typeIndex(f.params, f.results)))
	}

	w.out = append(make([]byte, 0, len(code)+len(code)/2), magic...)
	w.section(sectionType, w.typeSection())
	w.section(sectionImport, w.importSection(refill))
	w.section(sectionFunction, funcs)
	if len(w.tables) > 0 {
		w.section(sectionTable, vector(w.tables, tableType.append))
	}
	if w.memory != nil {
		w.section(sectionMemory, w.memory.append([]byte{1}))
	}
	if len(w.tags) > 0 {
		w.section(sectionTag, vector(w.tags, appendTag))
	}
	w.section(sectionGlobal, w.globalSection())
	if len(w.exports) > 0 {
		w.section(sectionExport, vector(w.exports, w.appendExport))
	}
	if w.start != nil {
		w.section(sectionStart, appendUnsigned(nil, uint64(w.outIndex(*w.start))))
	}
	if len(w.elems) > 0 {
		w.section(sectionElement, vector(w.elems, elemSegment.append))
	}
	if w.dataCount {
		w.section(sectionDataCount, appendUnsigned(nil, uint64(len(w.data))))
	}
	w.section(sectionCode, code)
	if len(w.data) > 0 {
		w.section(sectionData, vector(w.data, dataSegment.append))
	}
	if w.names != nil {
		w.section(sectionCustom, w.nameSection())
	}
	return w.out
}

func (w *writer) section(id byte, content []byte) {
	w.out = appendUnsigned(append(w.out, id), uint64(len(content)))
	w.out = append(w.out, content...)
}

// vector writes a list with its length. https://webassembly.github.io/spec/core/binary/conventions.html#vectors
func vector[T any](list []T, each func(T, []byte) []byte) []byte {
	b := appendUnsigned(nil, uint64(len(list)))
	for _, x := range list {
		b = each(x, b)
	}
	return b
}

// code is the code section: the module's own functions with payments, then the added ones.
func (w *writer) code(wasm []byte) ([]byte, error) {
	c := &code{m: w.module, file: wasm}
	if err := w.analyse(c); err != nil {
		return nil, err
	}
	e := &emitter{code: c, at: w.at, blockFor: w.resultBlock, report: &w.report}
	b := appendUnsigned(make([]byte, 0, len(wasm)), uint64(len(w.bodies)+len(w.funcs)))
	for i := range w.bodies {
		fn := uint32(i) + w.importedFuncs
		if err := c.decode(fn); err != nil {
			return nil, err
		}
		f := e.function(fn)
		b = append(appendUnsigned(b, uint64(len(f))), f...)
	}
	for _, f := range w.funcs {
		b = append(appendUnsigned(b, uint64(len(f.code))), f.code...)
	}
	return b, nil
}

// typeIndex returns the index of a function type, which it adds where there is none like it.
func (w *writer) typeIndex(params, results []valueType) uint32 {
	t := newFuncType(params, results)
	i, ok := w.byKey[t.key]
	if !ok {
		i = uint32(len(w.types))
		w.types = append(w.types, t)
		w.byKey[t.key] = i
	}
	return i
}

// resultBlock is the type of a block without operands and with these results.
func (w *writer) resultBlock(results []valueType) blockType {
	switch len(results) {
	case 0:
		return blockType{code: blockEmpty}
	case 1:
		t := results[0]
		if prefix := t >> 8; prefix != 0 {
			return blockType{code: int64(prefix) - 0x80, heap: t & 0xff}
		}
		return blockType{code: int64(t) - 0x80}
	}
	return blockType{code: int64(w.typeIndex(nil, results))}
}

func (w *writer) typeSection() []byte {
	return vector(w.types, func(t funcType, b []byte) []byte { return append(append(b, 0x60), t.key...) })
}

func (w *writer) importSection(refill uint32) []byte {
	imports := append(slices.Clip(w.imports), importEntry{module: ImportModule, name: ImportName, kind: externFunc, typ: refill})
	return vector(imports, importEntry.append)
}

// globalSection adds the counter. It begins at -1, that is a fuel of -1 and a depth of 0, so that the first check calls
// the host.
func (w *writer) globalSection() []byte {
	counter := globalEntry{globalType{typeI64, true}, []byte{byte(opI64Const), 0x7f, byte(opEnd)}}
	return vector(append(slices.Clip(w.globals), counter), globalEntry.append)
}

func (w *writer) appendExport(e exportEntry, b []byte) []byte {
	index := e.index
	if e.kind == externFunc {
		index = w.outIndex(index)
	}
	return appendUnsigned(append(appendName(b, e.name), e.kind), uint64(index))
}

func (w *writer) nameSection() []byte {
	sub := func(b []byte, id byte, content []byte) []byte {
		return append(appendUnsigned(append(b, id), uint64(len(content))), content...)
	}
	b := appendName(nil, "name")
	if w.names.module != "" {
		b = sub(b, 0, appendName(nil, w.names.module))
	}
	var funcs []funcName
	for _, f := range w.names.funcs {
		funcs = append(funcs, funcName{w.outIndex(f.index), f.name})
	}
	at, _ := slices.BinarySearchFunc(funcs, w.at.refill, func(f funcName, i uint32) int { return int(f.index) - int(i) })
	funcs = slices.Insert(funcs, at, funcName{w.at.refill, ImportModule + "." + ImportName})
	for i, f := range w.funcs {
		funcs = append(funcs, funcName{w.at.slow + uint32(i), ImportModule + "." + f.name})
	}
	return sub(b, 1, vector(funcs, func(f funcName, b []byte) []byte {
		return appendName(appendUnsigned(b, uint64(f.index)), f.name)
	}))
}

func (i importEntry) append(b []byte) []byte {
	b = append(appendName(appendName(b, i.module), i.name), i.kind)
	switch i.kind {
	case externTable:
		return i.table.append(b)
	case externMemory:
		return i.memory.append(b)
	case externGlobal:
		return i.global.append(b)
	case externTag:
		b = append(b, 0)
	}
	return appendUnsigned(b, uint64(i.typ))
}

func (l limits) append(b []byte) []byte {
	if !l.hasMax {
		return appendUnsigned(append(b, 0), uint64(l.min))
	}
	return appendUnsigned(appendUnsigned(append(b, 1), uint64(l.min)), uint64(l.max))
}

func (t tableType) append(b []byte) []byte { return t.limits.append(t.ref.append(b)) }

func appendTag(typ uint32, b []byte) []byte { return appendUnsigned(append(b, 0), uint64(typ)) }

func (t globalType) append(b []byte) []byte {
	b = t.typ.append(b)
	if t.mutable {
		return append(b, 1)
	}
	return append(b, 0)
}

func (g globalEntry) append(b []byte) []byte { return append(g.globalType.append(b), g.init...) }

func (s elemSegment) append(b []byte) []byte {
	return append(appendUnsigned(append(b, s.head...), uint64(s.count)), s.init...)
}

func (s dataSegment) append(b []byte) []byte {
	return append(appendUnsigned(append(b, s.head...), uint64(len(s.init))), s.init...)
}
