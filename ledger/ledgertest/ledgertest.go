// Package ledgertest has the keys that tests seal ledgers with. Everybody can
// make them: they are for tests only.
package ledgertest

import (
	"github.com/agenthost/agenthost/ledger"
)

// constant is a source of equal bytes.
type constant byte

// Read implements [io.Reader].
func (c constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

// Host is the key of a host, the same each time.
func Host() (*ledger.Key, error) { return Other(1) }

// Other is the key of another host, or of the same for n = 1.
func Other(n byte) (*ledger.Key, error) { return ledger.NewKey("agenthost/host", constant(n)) }

// Hosts are those that tests trust: Host alone.
func Hosts() ([]ledger.Verifier, error) {
	k, err := Host()
	if err != nil {
		return nil, err
	}
	return []ledger.Verifier{k.Verifier()}, nil
}
