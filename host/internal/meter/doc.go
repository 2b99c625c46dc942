// Package meter makes WebAssembly modules count what they execute, bounds how deep they call, and gives the host control
// every so often. It knows nothing of engines, files or turns, and it does not validate: an engine does, before and
// after.
//
// # Why
//
// Code compiled by wazero cannot be interrupted. A guest that computes without calling the host holds up Go's collector,
// which waits for every goroutine to reach a safe point, and with it the whole process: no watchdog in it runs any more.
// So the module itself must call the host, and often enough. Counting comes with it, and makes running out of fuel
// depend on the program alone, never on the machine.
//
// # The scheme
//
// [Inject] adds to a module one mutable global, one imported function and a few functions of its own. The global, the
// counter, holds two signed numbers:
//
//	counter = depth left << 32 + fuel left of this slice
//
// The code pays in advance: it subtracts from the counter what the instructions from here to the next payment cost. It
// pays where a function begins, where a loop begins a turn, and where ways of different price part or join. At the
// beginning of functions and loops it then looks whether the fuel went below zero (or at the beginning of a function
// that can recur, fuel or depth), and if so calls the import
//
//	agenthost_meter.refill (i64) -> (i64)
//
// with the counter; the answer is the new counter. [Account] is the host's side of it: it looks at fuel, depth and the
// caller's own conditions, and grants the next slice. A guest is ended by a panic in the host function, which no
// catch clause catches.
//
// What is paid is an upper bound of what runs, 1.0 to 1.6 times the exact count on real programs, and the same on every
// engine, run and machine. Paying exactly, block by block, would cost more than it is worth: 13 to 23 % of the speed
// instead of 3 to 16 %, and 17 % of the size instead of 8 %.
//
//   - Functions without loops that cost little (freeCost) are paid for by their callers, unless the host may call them.
//   - Depth is counted in functions that can be on the stack more than once, as far as calls and types show, and in
//     every 17th of a chain of others. Each weighs 1 and 1 more for every 256 bytes of code. The weight is given back
//     on every way out; where an exception lands, the depth is set back to what it was there.
//   - A loop that calls nothing keeps the counter in a local, too: it writes the global as all code does, but need not
//     wait for memory to read it, which would take longer than the rest of a short loop.
//   - Instructions that do much at once pay by their length, before they run. memory.fill and memory.copy are done in
//     chunks of 1 MiB with the host called in between. A throw costs 65,536 units and a try_table 2,048: that is what
//     they take.
//   - Tables get a maximum, for all of a module's own tables together. Imported tables and memories are bounded by
//     whoever offers them. Memory is bounded by the engine; memory.grow is only paid for.
//
// Every instruction is decoded and written anew in its shortest form, never copied. Engines read some numbers in their
// own ways when these are longer than need be (wazero takes one byte after 0xfd, and two after select with types), so
// what one reader takes for an immediate another may run, unmetered. For the same reason what is unknown is refused, and
// so is every index beyond the input's own functions, types, globals and locals: what names something that does not
// exist would, in the output, name what the meter added.
//
// # What is metered
//
// WebAssembly 1.0 and multi-value, bulk memory, reference types, SIMD, sign extension, saturating conversions, mutable
// globals (all of the core specification 2.0), tail calls, extended constant expressions, and exception handling with
// exnref. In the words of wazero the features are api.CoreFeaturesV2 and of package experimental CoreFeaturesTailCall,
// CoreFeaturesExtendedConst and CoreFeaturesExceptionHandling: validate with these, no others.
//
// Refused by their names: threads, legacy exception handling, typed function references, garbage collection, more than
// one memory, memory64, custom page sizes, relaxed SIMD, wide arithmetic, components, and modules that import from
// agenthost_meter themselves.
//
// [Inspect] reads what a module imports, exports and declares, without looking at its code.
//
// The binary format: https://webassembly.github.io/spec/core/binary/index.html
package meter
