package abi

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Rights are those of a turn: what its package asked for and the operator did
// not take away as a whole. The operator may hide single names besides, which is
// not told here; [OpCheck] says it of one name. It is what [PolicyPath] holds,
// and a member of the reply to [OpInfo].
type Rights struct {
	Read      []string   `json:"read"`      // patterns
	Write     []string   `json:"write"`     // patterns
	Execute   [][]string `json:"execute"`   // commands
	Forbidden []string   `json:"forbidden"` // patterns of names that end the turn
}

// Limits are those of the contract and of the turn: bytes, milliseconds, units
// of fuel, counts.
type Limits struct {
	Path        int64 `json:"path"`
	Request     int64 `json:"request"`
	Body        int64 `json:"body"`
	Reply       int64 `json:"reply"`
	Memory      int64 `json:"memory"`
	TimeMS      int64 `json:"time_ms"`
	Fuel        int64 `json:"fuel"`
	OutputBytes int64 `json:"output_bytes"`
	OutputFiles int64 `json:"output_files"`
	ResultBytes int64 `json:"result_bytes"`
	Entries     int64 `json:"entries"`
	CallDepth   int64 `json:"call_depth"`
}

// Encode gives the rights as one line of JSON with its newline. Equal rights
// give equal bytes; lists are never null.
func (r Rights) Encode() ([]byte, error) {
	for _, list := range []*[]string{&r.Read, &r.Write, &r.Forbidden} {
		if *list == nil {
			*list = []string{}
		}
	}
	if r.Execute == nil {
		r.Execute = [][]string{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("rights: %w", err)
	}
	return b.Bytes(), nil
}

// Ops lists the operations of this minor version, sorted.
func Ops() []string {
	return []string{OpCheck, OpExec, OpHash, OpInfo, OpList, OpLog, OpRead, OpRequest, OpResult, OpWrite}
}
