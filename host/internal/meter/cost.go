package meter

// What instructions cost, in units of about one cheap instruction. Nothing is charged for what produces no code: nop,
// block, loop, else, end. The dear ones were measured on wazero's compiler: a throw takes some 95 µs, entering a
// try_table 2.5 µs, and growing a memory or a table is a call of the host.
const (
	costPlain        = 1
	costBrTable      = 2
	costCall         = 3
	costImport       = 5 // more, for a call of the host
	costCallIndirect = 5
	costBulk         = 32
	costGrow         = 256
	costTry          = 1 << 11
	costThrow        = 1 << 16
)

// Bulk instructions cost more by their length.
const (
	bytesShift   = 3       // a shift to the right; of memory.fill, copy and init: a unit for 8 bytes
	pageShift    = -4      // of memory.grow: 16 units for a page
	elementShift = 0       // of table.init, copy, fill and grow: a unit for an element
	chunk        = 1 << 20 // bytes filled or copied before the host is asked again
	maxPages     = 1 << 16
)

// How coarse payments may be. Paying once for several blocks makes loops fast and counts at times too high: these bound
// by how much at one branch. They were found by measuring.
const (
	slack     = 32  // units overpaid where two ways part
	exitSlack = 256 // the same where one of them leaves a loop, which happens once
	freeCost  = 24  // a function of no more than this, without loops and not exported, is paid by its callers
)

// Bounds on what can be paid from one check to the next. They keep the time between two calls of the host short, and the
// lower half of the counter from running below -2^31, where it would wrap and turn a debt into fuel. Only a check stops
// the descent; one is reached on every way, but
//
//   - a function may pay so much on its way out, since its last check or call: maxRun or maxRunShallow;
//   - its callers may do so on theirs, without a call in between. There are at most MaxDepth counted frames, with at most
//     maxChain frames that are not counted above each: 2^15 × (2^9 + 2^4 × 2^7) < 2^26.4, some 50 ms of computing;
//   - then comes the payment in front of the check: not much more than maxPay, and for a bulk instruction 2^32/8 = 2^29.
//
// That is less than 2^29.3 below zero.
const (
	maxPay        = 1 << 16
	maxRun        = 1 << 9 // units paid without a check in a function whose depth is counted
	maxRunShallow = 1 << 7 // in one whose depth is not
	maxChain      = 1 << 4 // calls into one another of functions whose depth is not counted
)
