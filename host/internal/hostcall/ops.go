package hostcall

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/strict"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// ops are the operations of the contract. Each takes its members out of the
// message, and returns what performs it: nothing happens before.
var ops = map[string]func(*Dispatcher, *message) func(body []byte) []byte{
	abi.OpRequest: (*Dispatcher).request,
	abi.OpResult:  (*Dispatcher).result,
	abi.OpRead:    (*Dispatcher).read,
	abi.OpWrite:   (*Dispatcher).write,
	abi.OpList:    (*Dispatcher).list,
	abi.OpExec:    (*Dispatcher).exec,
	abi.OpLog:     (*Dispatcher).log,
	abi.OpCheck:   (*Dispatcher).check,
	abi.OpHash:    (*Dispatcher).hash,
	abi.OpInfo:    (*Dispatcher).info,
	abi.OpHTTP:    reserved(abi.OpHTTP),
	abi.OpModel:   reserved(abi.OpModel),
	abi.OpApprove: reserved(abi.OpApprove),
}

// done is the reply to what succeeds and tells nothing.
type done struct {
	OK bool `json:"ok"`
}

func (d *Dispatcher) request(m *message) func([]byte) []byte {
	m.noBody()
	if len(d.cfg.Request) > abi.MaxReply-64 {
		m.limit("the header of this turn has more than %d bytes", abi.MaxReply)
	}
	return func([]byte) []byte {
		d.cfg.Gate.Note(gate.ABI, record.OpRequest, -1)
		d.cfg.Charge(int64(len(d.cfg.Request)))
		return encode(struct {
			done
			Request json.RawMessage `json:"request"`
		}{done{true}, d.cfg.Request})
	}
}

func (d *Dispatcher) result(*message) func([]byte) []byte {
	return func(body []byte) []byte {
		d.cfg.Charge(int64(len(body)))
		d.cfg.Gate.Note(gate.ABI, record.OpResult, int64(len(body)))
		d.cfg.Result(body)
		return encode(done{true})
	}
}

func (d *Dispatcher) read(m *message) func([]byte) []byte {
	m.noBody()
	path := m.text("path")
	offset := m.count("offset", 0)
	length := m.count("length", abi.MaxBody)
	if length > abi.MaxBody {
		m.limit("at most %d bytes are read at once", abi.MaxBody)
	}
	return func([]byte) []byte {
		data, size, errno := d.cfg.Gate.Read(gate.ABI, path, offset, length)
		if errno != gate.Success {
			return failed(errno)
		}
		line := encode(struct {
			done
			Size int64 `json:"size"`
			Body int   `json:"body"`
		}{done{true}, size, len(data)})
		return append(line, data...)
	}
}

func (d *Dispatcher) write(m *message) func([]byte) []byte {
	path := m.text("path")
	appends := m.truth("append")
	return func(body []byte) []byte {
		size, errno := d.cfg.Gate.Write(gate.ABI, path, body, appends)
		if errno != gate.Success {
			return failed(errno)
		}
		return encode(struct {
			done
			Size int64 `json:"size"`
		}{done{true}, size})
	}
}

// An entry is what a listing tells of a name.
type entry struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// maxListing bounds the names of one reply, in bytes: as JSON, a byte takes six
// at most.
const maxListing = abi.MaxReply / 16

func (d *Dispatcher) list(m *message) func([]byte) []byte {
	m.noBody()
	path, after := m.text("path"), ""
	if m.has("after") {
		after = m.text("after")
	}
	return func([]byte) []byte {
		infos, errno := d.cfg.Gate.List(gate.ABI, path)
		if errno != gate.Success {
			return failed(errno)
		}
		first, _ := slices.BinarySearchFunc(infos, after, func(i gate.Info, name string) int { return bytes.Compare([]byte(i.Name), []byte(name)) })
		if first < len(infos) && infos[first].Name == after {
			first++
		}
		entries, size, more := []entry{}, 0, false
		for _, i := range infos[first:] {
			if size += len(i.Name) + 8; size > maxListing {
				more = true
				break
			}
			entries = append(entries, entry{i.Name, kindOf(i)})
		}
		d.cfg.Charge(int64(size) * bytesFuel)
		return encode(struct {
			done
			Entries []entry `json:"entries"`
			More    bool    `json:"more,omitempty"`
		}{done{true}, entries, more})
	}
}

func kindOf(i gate.Info) string {
	switch {
	case i.Folder:
		return abi.KindFolder
	case i.Device:
		return abi.KindDevice
	}
	return abi.KindFile
}

func (d *Dispatcher) log(m *message) func([]byte) []byte {
	m.noBody()
	level := abi.LevelInfo
	if m.has("level") {
		level = m.text("level")
	}
	if !slices.Contains([]string{abi.LevelDebug, abi.LevelInfo, abi.LevelWarn, abi.LevelError}, level) {
		m.malformed("level", "want debug, info, warn or error")
	}
	line := level + ": " + m.text("message")
	if v, ok := m.take("fields"); ok && m.want("fields", v, strict.Object) && m.no == nil {
		var fields bytes.Buffer
		if err := json.Compact(&fields, m.line[v.Start:v.End]); err != nil {
			m.malformed("fields", "%v", err)
		}
		line += " " + fields.String()
	}
	return func([]byte) []byte {
		d.cfg.Gate.Note(gate.ABI, record.OpLog, int64(len(line)+1))
		d.cfg.Log([]byte(line + "\n"))
		return encode(done{true})
	}
}

func (d *Dispatcher) check(m *message) func([]byte) []byte {
	m.noBody()
	right := capability.Op(m.text("operation"))
	var words []string
	switch right {
	case capability.Execute:
		words = m.words("subject")
	case capability.Read, capability.Write:
		words = []string{m.text("subject")}
	default:
		m.malformed("operation", "want read, write or execute")
	}
	return func([]byte) []byte {
		a := d.cfg.Gate.Check(gate.ABI, right, words...)
		return encode(struct {
			done
			Allowed  bool   `json:"allowed"`
			Decision string `json:"decision"`
			Grant    string `json:"grant,omitempty"`
			Rule     string `json:"rule,omitempty"`
		}{done{true}, a.Allowed(), a.Entry.Decision, a.Grant, a.Told()})
	}
}

func (d *Dispatcher) hash(m *message) func([]byte) []byte {
	type reply struct {
		done
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	}
	if !m.has("path") {
		return func(body []byte) []byte {
			d.cfg.Charge(int64(len(body)))
			d.cfg.Gate.Note(gate.ABI, record.OpHash, int64(len(body)))
			return encode(reply{done{true}, ledger.Sum(body).String(), int64(len(body))})
		}
	}
	m.noBody()
	path := m.text("path")
	return func([]byte) []byte {
		sum, size, errno := d.cfg.Gate.Hash(gate.ABI, path)
		if errno != gate.Success {
			return failed(errno)
		}
		return encode(reply{done{true}, sum.String(), size})
	}
}

func (d *Dispatcher) info(m *message) func([]byte) []byte {
	m.noBody()
	if len(d.cfg.Rights) > abi.MaxReply-4096 {
		m.limit("what there is to say of this turn has more than %d bytes", abi.MaxReply)
	}
	return func([]byte) []byte {
		d.cfg.Gate.Note(gate.ABI, record.OpInfo, -1)
		d.cfg.Charge(int64(len(d.cfg.Rights)))
		return encode(struct {
			done
			ABI    int             `json:"abi"`
			Minor  int             `json:"minor"`
			Ops    []string        `json:"ops"`
			Limits abi.Limits      `json:"limits"`
			Rights json.RawMessage `json:"rights"`
		}{done{true}, abi.Version, abi.Minor, abi.Ops(), d.cfg.Limits, d.cfg.Rights})
	}
}

// reserved is an op of a later version: whatever its members will be, it is
// refused.
func reserved(op string) func(*Dispatcher, *message) func([]byte) []byte {
	return func(d *Dispatcher, m *message) func([]byte) []byte {
		m.members = nil
		return func([]byte) []byte {
			d.cfg.Gate.Reserved(gate.ABI, op)
			return fail(abi.CodeUnsupported, op+" is kept for a later version")
		}
	}
}
