package plane

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/ledger"
)

// TokenPrefix begins every admin token, so that it is recognized where it was
// not meant to be.
const TokenPrefix = "agenthost_"

const (
	tokenFile   = "control/token"
	tokenBytes  = 32 // of randomness
	maxTokenRow = 256
)

// newToken makes a token: the prefix and 43 characters, base64url of 32 random
// bytes.
func newToken(random io.Reader) (string, error) {
	var b [tokenBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// tokenRow is the content of control/token: the SHA-256 of the token. The token
// has 256 random bits, so its hash can be kept as it is.
func tokenRow(token string) []byte { return []byte(ledger.Sum([]byte(token)).String() + "\n") }

// readTokenRow reads control/token, which must be the file that governance.jsonl
// speaks of.
func readTokenRow(dir *beneath.Dir, want ledger.Hash) ([]byte, error) {
	row, err := durable.Read(dir, tokenFile, maxTokenRow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &MismatchError{tokenFile, "is missing", tokenHint}
	case errors.Is(err, durable.ErrNotPlain):
		return nil, &MismatchError{tokenFile, "is not the file that was written", tokenHint}
	case err != nil:
		return nil, err
	case ledger.Sum(row) != want:
		return nil, &MismatchError{tokenFile, "is not what " + governancePath + " says", tokenHint}
	}
	return row, nil
}

const tokenHint = "find out who changed it, then make a new token: agenthost control token rotate --lost"

// matches reports whether row is that of a token. How long it takes does not
// depend on where they differ.
func matches(row []byte, token string) bool {
	got, want := sha256.Sum256(tokenRow(token)), sha256.Sum256(row)
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
