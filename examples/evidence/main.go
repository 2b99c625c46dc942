// Evidence is the evidence standard library as an agent: it says what a piece of
// work began with and came to, as digests anyone can compute again.
//
// All hashing is the host's: the agent never holds the content of a file.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

func main() { agent.Main(evidence) }

// query is what a request asks for. Every member may be missing.
type query struct {
	Input      json.RawMessage            `json:"input"`       // what the work began with
	Output     json.RawMessage            `json:"output"`      // what it came to
	Values     map[string]json.RawMessage `json:"values"`      // what else to hash, by name
	Files      []string                   `json:"files"`       // what else to hash, relative to the workspace
	DurationMS *int64                     `json:"duration_ms"` // how long it took: an agent has no clock of its own
}

// envelope is the answer. The members that link it to its turn come from the
// host and not from the query, so nobody can claim another's.
type envelope struct {
	SessionID      string            `json:"session_id"`
	TurnNumber     int               `json:"turn_number"`
	WorkOrderID    string            `json:"work_order_id,omitempty"`
	InputHash      string            `json:"input_hash,omitempty"`
	OutputHash     string            `json:"output_hash,omitempty"`
	Timestamp      string            `json:"timestamp"`
	DurationMS     *int64            `json:"duration_ms,omitempty"`
	DeclaredReads  []agent.Input     `json:"declared_reads"`
	DeclaredWrites []agent.Output    `json:"declared_writes"`
	Values         map[string]string `json:"values"`
	Files          []file            `json:"files"`
}

type file struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

func evidence(r *agent.Request) (any, error) {
	var err error
	if r.Query, err = canonical(r.Query); err != nil {
		return nil, fmt.Errorf("the query: %w", err)
	}
	var q query // its values are canonical, being parts of what is
	if err := r.Decode(&q); err != nil {
		return nil, err
	}
	e := envelope{
		SessionID: r.SessionID, TurnNumber: r.Turn, WorkOrderID: r.WorkOrderID,
		Timestamp: r.AsOf.UTC().Format("2006-01-02T15:04:05.000Z"), DurationMS: q.DurationMS,
		DeclaredReads: append([]agent.Input{}, r.Inputs...), DeclaredWrites: append([]agent.Output{}, r.Outputs...),
		Values: map[string]string{}, Files: []file{},
	}
	if e.InputHash, err = hash(q.Input); err != nil {
		return nil, err
	}
	if e.OutputHash, err = hash(q.Output); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(q.Values)) { // one record for one query
		if e.Values[name], err = hash(q.Values[name]); err != nil {
			return nil, err
		}
	}
	for _, path := range q.Files {
		sum, err := agent.Hash(path)
		if err != nil {
			return nil, err
		}
		e.Files = append(e.Files, file{path, sum})
	}
	return e, nil
}

// hash gives the SHA-256 of a value, and nothing for none.
func hash(value json.RawMessage) (string, error) {
	if value == nil {
		return "", nil
	}
	return agent.HashBytes(value)
}
