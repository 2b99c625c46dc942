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
	for i := range h {
		hi, lo := nibble(digits[2*i]), nibble(digits[2*i+1])
		if hi|lo > 15 {
			return false
		}
		h[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
