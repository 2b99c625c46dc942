// Package agent is what an agent written in Go imports to run under agenthost:
// the request of its turn, and what the host can do for it that files cannot.
//
// An agent is a function from a request to a result:
//
//	package main
//
//	import (
//		"os"
//		"strings"
//
//		agent "github.com/agenthost/agenthost/guest-sdk/go"
//	)
//
//	func main() {
//		agent.Main(func(r *agent.Request) (any, error) {
//			text, err := os.ReadFile("README.md")
//			return map[string]int{"words": len(strings.Fields(string(text)))}, err
//		})
//	}
//
// With a manifest.json beside it that says what it asks for,
//
//	{
//	  "schema": "agenthost/package/v1",
//	  "id": "PKG-T3-WORDS-001",
//	  "version": "0.1.0",
//	  "entry": {"module": "agent.wasm"},
//	  "capabilities": {"read": ["*.md"]}
//	}
//
// it is built and run by
//
//	GOOS=wasip1 GOARCH=wasm go build -o agent.wasm
//	agenthost run .
//
// Files need no package: os reads and writes them. The workspace is the current
// folder, the session's output folder is out, and [os.TempDir] is thrown away
// after the turn. What is not granted does not exist. What is forbidden, and a
// write that was not declared, ends the agent where it stands; no error tells it.
//
// The package depends on the standard library alone. Built for another system
// than wasip1 it needs no host, so that go test and go run work: see [Main]. It
// starts nothing, and grants nothing: the host judges each call.
package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// A Request is what a turn is asked to do. All of it comes from the host.
type Request struct {
	SessionID   string          `json:"session_id"`
	Turn        int             `json:"turn_number"` // of the session, from 1
	WorkOrderID string          `json:"work_order_id"`
	AsOf        time.Time       `json:"context_as_of"` // when the turn began; its clock starts there
	Inputs      []Input         `json:"declared_inputs"`
	Outputs     []Output        `json:"declared_outputs"`
	Query       json.RawMessage `json:"query"` // any JSON value, null if there is none; Decode reads it
}

// An Input is a file that the turn declared to read, as it was when the turn
// began.
type Input struct {
	Path   string `json:"path"`   // relative to the workspace
	SHA256 string `json:"sha256"` // as Hash spells it
	Size   int64  `json:"size"`   // bytes
}

// An Output is a file, or a pattern of files, that the turn may publish.
type Output struct {
	Path string `json:"path"` // relative to the workspace; out/… is the session's own folder
	Role string `json:"role"`
}

// Decode reads the query into v as [json.Unmarshal] does, save that a member
// that v has no place for is an error. Without a query it leaves v as it is.
func (r *Request) Decode(v any) error {
	if len(r.Query) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(r.Query))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("decode the query: %w", err)
	}
	return nil
}

// Raw is a result that is not JSON: the bytes are given as they are.
type Raw []byte

// Main runs the agent: it calls handle with the turn's request and gives the
// host what handle returns. A [Raw] is given as it is, anything else as one line
// of JSON. If handle returns nil, the result is what the agent wrote to standard
// output, which is the way for more than 15 MiB; else standard output is not part
// of it.
//
// If handle returns an error, Main writes it to standard error and exits with
// status 1: the turn has failed, and nothing is published. Main does not return
// then, and should be the last thing main does.
//
// Without a host, Main reads the request from standard input, where every member
// may be missing and nothing at all is an empty request, and writes the result
// to standard output:
//
//	echo '{"query": {"title": "Documents"}}' | go run .
func Main(handle func(*Request) (any, error)) {
	if err := serve(handle); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(handle func(*Request) (any, error)) error {
	var reply struct {
		head
		Request Request `json:"request"`
	}
	if _, err := call(opRequest, "", nil, nil, &reply); err != nil {
		return err
	}
	r := &reply.Request
	if r.Query == nil {
		r.Query = json.RawMessage("null")
	}
	result, err := Run(handle, r)
	if err != nil || result == nil {
		return err
	}
	_, err = call(opResult, "", nil, result, &head{})
	return err
}

// Run calls handle with r and returns the bytes that [Main] would give the host,
// nil if handle returned nil. It is for tests of handle.
func Run(handle func(*Request) (any, error), r *Request) ([]byte, error) {
	value, err := handle(r)
	if err != nil || value == nil {
		return nil, err
	}
	if raw, ok := value.(Raw); ok {
		return append([]byte{}, raw...), nil // not nil, whatever raw is
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	return b.Bytes(), nil
}
