package record

import "github.com/agenthost/agenthost/ledger"

// BlobsOf are the digests of the blobs that a decoded entry stands on: without
// them what it says is not whole. [Erased] names one that is gone, and has none.
func BlobsOf(body ledger.Body) []ledger.Hash {
	var named []*Blob
	switch b := body.(type) {
	case SessionOpen:
		return []ledger.Hash{b.Seed}
	case TurnBegin:
		named = []*Blob{b.Query, b.Args}
	case ExecStart:
		named = []*Blob{&b.Argv, &b.View.Blob}
	case ExecEnd:
		named = []*Blob{b.Stdout, b.Stderr}
	case Stderr:
		named = []*Blob{&b.Blob}
	case TurnEnd:
		named = []*Blob{b.Result}
	}
	var all []ledger.Hash
	for _, n := range named {
		if n != nil {
			all = append(all, n.Blob)
		}
	}
	return all
}
