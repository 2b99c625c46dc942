package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash is a SHA-256 digest. Its zero value stands for "none": the prev of a
// first entry.
type Hash [sha256.Size]byte

const hashPrefix = "sha256:"

// Sum returns the SHA-256 digest of b.
func Sum(b []byte) Hash { return sha256.Sum256(b) }

// ParseHash reads the form String writes, "sha256:" and 64 lower-case
// hexadecimal digits, and nothing else.
func ParseHash(s string) (Hash, error) {
	var h Hash
	digits, ok := strings.CutPrefix(s, hashPrefix)
	if !ok || !decodeHex(&h, digits) {
		return Hash{}, fmt.Errorf("digest %.80q: want sha256: and 64 lower-case hexadecimal digits", s)
	}
	return h, nil
}

// String returns "sha256:" and 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// IsZero reports whether h is the zero value.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText implements [encoding.TextMarshaler] with the form of String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] as ParseHash does.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// decodeHex fills h from exactly 64 lower-case hexadecimal digits. Upper case
// is refused so that a digest has one spelling.
func decodeHex[S ~string | ~[]byte](h *Hash, digits S) bool {
	if len(digits) != 2*len(h) {
		return false
	}
	fit := byte(0x10)
	for i := range h {
		hi, lo := nibbles[digits[2*i]], nibbles[digits[2*i+1]]
		h[i] = hi<<4 | lo&15
		fit &= hi & lo
	}
	return fit != 0
}

// nibbles has 0x10 and the value for each lower-case hexadecimal digit.
var nibbles = [256]byte{
	'0': 0x10, '1': 0x11, '2': 0x12, '3': 0x13, '4': 0x14, '5': 0x15, '6': 0x16, '7': 0x17,
	'8': 0x18, '9': 0x19, 'a': 0x1a, 'b': 0x1b, 'c': 0x1c, 'd': 0x1d, 'e': 0x1e, 'f': 0x1f,
}
