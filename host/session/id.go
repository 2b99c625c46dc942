package session

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"time"
)

// An ID names a session: "SES-", the time it was opened in UTC to the
// millisecond, "-", and 80 bits in base32, as in
// SES-20261122T134611042Z-k3q7c2zv5hwm4xta. IDs sort by that time as bytes do.
type ID string

var digits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const randomBytes = 10 // of an ID

// NewID makes the ID of a session opened now, with bytes from random. Two IDs
// of one millisecond are the same once in 2^80.
func NewID(now time.Time, random io.Reader) (ID, error) {
	var b [randomBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("making a session id: %w", err)
	}
	return makeID(now, b), nil
}

// Derive makes the ID that belongs to a time and a seed, and to no other.
func Derive(asOf time.Time, seed []byte) ID {
	h := sha256.New()
	fmt.Fprintf(h, "agenthost/session-id/v1\n%s\n", asOf.UTC().Format(time.RFC3339Nano))
	h.Write(seed)
	return makeID(asOf, [randomBytes]byte(h.Sum(nil)))
}

func makeID(t time.Time, b [randomBytes]byte) ID {
	stamp := strings.Replace(t.UTC().Format("20060102T150405.000Z"), ".", "", 1)
	return ID("SES-" + stamp + "-" + digits.EncodeToString(b[:]))
}

// ParseID accepts what may stand in a path as the name of a session:
// "SES-" and 1 to 100 letters, digits and '-'.
func ParseID(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, "SES-")
	if !ok || rest == "" || len(rest) > 100 ||
		strings.Trim(rest, "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return "", fmt.Errorf("%.120q is not a session id: want SES- and 1 to 100 letters, digits and '-'", s)
	}
	return ID(s), nil
}
