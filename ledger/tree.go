package ledger

import (
	"crypto/sha256"
	"math/bits"
)

// Tree is the Merkle tree of RFC 6962 section 2.1 over a growing list of leaf
// hashes. Only its right edge is kept: memory and the work of each Add are
// O(log n). The zero value is the empty tree. Not safe for concurrent use.
type Tree struct {
	size uint64
	edge [64]Hash // edge[i] is the root of the full subtree of 2^i leaves, if bit i of size is set
}

// Add appends a leaf hash: the hash of an entry.
func (t *Tree) Add(leaf Hash) {
	h := leaf
	level := bits.TrailingZeros64(^t.size)
	for i := range level {
		h = interior(&t.edge[i], &h)
	}
	t.edge[level] = h
	t.size++
}

// appendStored is Add, and appends to b what the leaf completes: its own hash, and
// those of the full subtrees that end with it, smallest first. So tlog orders the
// hashes it stores.
func (t *Tree) appendStored(b []byte, leaf Hash) []byte {
	h := leaf
	b = append(b, h[:]...)
	level := bits.TrailingZeros64(^t.size)
	for i := range level {
		h = interior(&t.edge[i], &h)
		b = append(b, h[:]...)
	}
	t.edge[level] = h
	t.size++
	return b
}

// Size returns the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Root returns the tree's root; that of the empty tree is the SHA-256 of
// nothing.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	low := bits.TrailingZeros64(t.size)
	h := t.edge[low]
	for i := low + 1; i < bits.Len64(t.size); i++ {
		if t.size>>i&1 == 1 {
			h = interior(&t.edge[i], &h)
		}
	}
	return h
}

// interior is RFC 6962's MTH(D[n]) = SHA-256(0x01 || left || right).
func interior(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}
