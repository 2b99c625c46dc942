package abi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// TimeFormat is how times are written for guests: UTC, cut to milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Request is the header of a turn: what a guest reads from stdin, and again
// through [OpRequest]. All of it is data the guest may believe.
type Request struct {
	ABI             int             `json:"abi"` // [Version]
	SessionID       string          `json:"session_id"`
	TurnNumber      int             `json:"turn_number"` // from 1
	WorkOrderID     string          `json:"work_order_id,omitempty"`
	ContextAsOf     string          `json:"context_as_of"` // in TimeFormat
	DeclaredInputs  []Input         `json:"declared_inputs"`
	DeclaredOutputs []Output        `json:"declared_outputs"`
	Query           json.RawMessage `json:"query"` // any JSON value; null when there is none
}

// Input is one file the turn declares to read, as it was when the turn began.
type Input struct {
	Path   string `json:"path"`   // relative to the workspace
	SHA256 string `json:"sha256"` // "sha256:" and 64 hex digits
	Size   int64  `json:"size"`   // bytes
}

// Output is one file, or a pattern of files, the turn may publish.
type Output struct {
	Path string `json:"path"` // relative to the workspace; out/… is the session's own folder
	Role string `json:"role"`
}

// Encode gives the header as one line of JSON with its newline. Equal headers
// give equal bytes: members in the order of the struct, no space between them,
// lists never null. The query keeps the order and spelling of its members, only
// space is taken out. It fails if the query is not one JSON value.
func (r Request) Encode() ([]byte, error) {
	if r.DeclaredInputs == nil {
		r.DeclaredInputs = []Input{}
	}
	if r.DeclaredOutputs == nil {
		r.DeclaredOutputs = []Output{}
	}
	if len(r.Query) == 0 {
		r.Query = nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("request header: %w", err)
	}
	return b.Bytes(), nil
}

// Environ gives the environment of every guest as NAME=value, in a fixed order.
// The manifest's own names come after these.
func Environ(session string, turn int) []string {
	return []string{
		EnvABI + "=" + strconv.Itoa(Version),
		EnvSession + "=" + session,
		EnvTurn + "=" + strconv.Itoa(turn),
		EnvTmpdir + "=" + TmpDir,
		EnvTemp + "=" + TmpDir,
		EnvTmp + "=" + TmpDir,
		EnvHome + "=" + TmpDir,
		EnvPwd + "=/",
	}
}
