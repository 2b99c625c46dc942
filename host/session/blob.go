package session

import (
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/redact"
	"github.com/agenthost/agenthost/ledger"
)

// Redact keeps values out of all that is recorded from now on, in entries of both
// ledgers and in blobs: a mark stands in their place before anything is hashed. It
// is called before the turn begins, and with nil ends it.
func (s *Session) Redact(values *redact.Values) {
	s.redact = values
	if values == nil {
		s.Exec.Redact(nil)
		s.Evidence.Redact(nil)
		return
	}
	s.Exec.Redact(values.Text)
	s.Evidence.Redact(values.Text)
}

// Blob keeps data as a blob, durable when Blob returns.
func (s *Session) Blob(data []byte) (record.Blob, error) { return s.put(s.redact.Blob(data)) }

// Listing is Blob of what a command could see, as [record.AppendSeen] lists it.
func (s *Session) Listing(list []byte) (record.Blob, error) {
	if s.redact != nil {
		list = record.RedactSeen(list, s.redact.Text)
	}
	return s.put(list)
}

func (s *Session) put(data []byte) (record.Blob, error) {
	nonce, err := s.root.nonce()
	if err != nil {
		return record.Blob{}, err
	}
	h, err := ledger.PutBlob(s.BlobDir(), data, nonce)
	return record.Blob{Blob: h, Size: int64(len(data))}, err
}
