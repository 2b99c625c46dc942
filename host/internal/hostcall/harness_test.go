//go:build linux

package hostcall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/gate/gatetest"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

const sid = "SES-20260102T030405Z-0123456789abcdef"

// A world is a workspace and the dispatcher of a turn in it.
type world struct {
	*Dispatcher
	t       testing.TB
	gate    *gate.Gate
	exec    *ledger.Log
	begin   ledger.Entry
	staged  string
	charged int64
	result  []byte
	logged  string
	memory  memory
}

var header = []byte(`{"abi":1,"session_id":"` + sid + `","query":"<q>"}` + "\n")

func newWorld(t testing.TB, tune ...func(*gate.Config)) *world {
	t.Helper()
	top, err := os.MkdirTemp("/dev/shm", "hostcall-test-")
	if err != nil {
		top = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	w := &world{t: t, staged: filepath.Join(top, "staged")}
	for name, content := range map[string]string{
		"docs/a.md": "0123456789", "docs/b.md": "b", "docs/sub/c": "c", "secret": "SECRET", "docs/no/s": "SECRET",
		"docs/large": strings.Repeat("large file\n", 200_000), "kept/old": "old",
	} {
		path := filepath.Join(top, "ws", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(name string) *beneath.Dir { return gatetest.Folder(t, filepath.Join(top, name)) }
	log := func(name string, o ledger.Options) *ledger.Log { return gatetest.Log(t, filepath.Join(top, name), o) }
	enforcer, err := capability.New(capability.Grants{
		Read: []string{"docs/**", "kept/*"}, Write: []string{"reports/**", "kept/*"}, Forbidden: []string{"docs/no/**"},
		Execute: []capability.Command{{"git", "log"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hide := capability.AsAsked()
	hide.Withhold = []string{"**/.env"}
	if enforcer, err = enforcer.Attenuate(hide); err != nil {
		t.Fatal(err)
	}
	w.exec = log("exec", record.ExecOptions(sid))
	if w.begin, err = w.exec.Append(1, record.TurnBegin{AsOf: "2026-01-02T03:04:05Z"}); err != nil {
		t.Fatal(err)
	}
	rights := []byte(`{"read":["docs/**"]}` + "\n")
	charge := func(units int64) {
		if units < 0 {
			t.Errorf("charged %d", units)
		}
		w.charged += units
	}
	cfg := gate.Config{
		Session: sid, Turn: 1, Enforcer: enforcer.Bind(sid), Workspace: folder("ws"), Rights: rights,
		Staged:  gate.Areas{Workspace: folder("staged"), Out: folder("out"), Tmp: folder("tmp")},
		Outputs: []archive.Output{{Path: "reports/*.md", Role: "report"}, {Path: "kept/*", Role: "kept"}},
		Exec:    w.exec, Evidence: log("evidence", record.EvidenceOptions(sid)), Charge: charge,
		Ceiling: gate.Ceiling{
			Entries: 1e6, Evidence: math.MaxInt64 / 2, OpenFiles: 100, OutputBytes: 32 << 20, OutputFiles: 100,
			ScratchBytes: 64 << 20, ScratchFiles: 1000, CopyBytes: 64 << 20, ListNames: 1000,
		},
	}
	for _, f := range tune {
		f(&cfg)
	}
	if c := cfg.Commands; c != nil {
		path := func(name string) string { return filepath.Join(top, name) }
		c.Places = gate.Places{
			Workspace: path("ws"), Published: path("published"), Staged: path("staged"), Out: path("out"), Tmp: path("tmp"), Package: path("package"),
		}
		folder("package")
	}
	if w.gate, err = gate.New(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	w.Dispatcher = New(Config{
		Gate: w.gate, Request: header, Rights: rights, Limits: abi.Limits{Path: abi.MaxPath}, Charge: charge,
		Result: func(data []byte) { w.result = bytes.Clone(data) },
		Log:    func(line []byte) { w.logged += string(line) },
	})
	return w
}

// ops are the operations that were recorded, as ledgers have them.
func (w *world) ops() (ops []string) {
	w.t.Helper()
	for e, err := range w.exec.Since(w.begin) {
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := record.Decode(e)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, isOp := body.(record.Op); !isOp {
			continue
		}
		text, err := ledger.Encode(body)
		if err != nil {
			w.t.Fatal(err)
		}
		ops = append(ops, string(text))
	}
	return ops
}

// ended calls f and returns what it panicked with, if that ends a turn.
func ended(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *capability.Violation:
			err = p
		case *gate.Limit:
			err = p
		case *gate.HostError:
			err = p
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

// A door sends a message and says what came back: the reply, or "-1" and so on.
type door func(w *world, line, body string) string

var doors = map[string]door{"memory": throughMemory, "device": throughDevice}

// throughDevice writes the message as a program with the whole of it in hand does.
func throughDevice(w *world, line, body string) string {
	if body != "" {
		line = strings.TrimSuffix(line, "}") + fmt.Sprintf(`,"body":%d}`, len(body))
	}
	c := w.Talk()
	defer c.Close()
	if !c.Write([]byte(line + "\n" + body)) {
		return "over"
	}
	return read(c)
}

// read reads a reply to its end, in pieces.
func read(c *Conversation) string {
	var reply []byte
	buf := make([]byte, 1000)
	for {
		n, ok := c.Read(buf)
		if !ok {
			return string(reply) + "over"
		}
		if n == 0 {
			return string(reply)
		}
		reply = append(reply, buf[:n]...)
	}
}

// throughMemory calls as a guest does whose buffer is too small for most replies.
func throughMemory(w *world, line, body string) string {
	text := line
	if body != "" {
		text += "\n" + body
	}
	const room = 64
	if w.memory.Module == nil {
		w.memory = newMemory(w.t, abi.MaxRequest+abi.MaxBody+abi.MaxReply)
	}
	m := w.memory
	m.Memory().Write(room, []byte(text))
	n := m.call(w.Dispatcher, room, uint32(len(text)), 0, room)
	if n < 0 {
		return fmt.Sprint(n)
	}
	head, _ := m.Memory().Read(0, min(room, uint32(n)))
	reply := string(head)
	if n > room {
		if again := m.more(w.Dispatcher, room, room, uint32(n)-room); again != n {
			w.t.Errorf("call gave %d, more %d", n, again)
		}
		rest, _ := m.Memory().Read(room, uint32(n)-room)
		reply += string(rest)
	}
	return reply
}

// A memory is a module without code, whose imports the tests call in its place.
type memory struct{ api.Module }

func newMemory(t testing.TB, bytes int) memory {
	t.Helper()
	ctx := context.Background()
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { runtime.Close(ctx) })
	// One page, exported by nobody.
	module, err := runtime.Instantiate(ctx, []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x01"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := module.Memory().Grow(uint32(bytes >> 16)); !ok {
		t.Fatal("the memory does not grow")
	}
	return memory{module}
}

// junk is what the upper halves of parameters may hold.
const junk = 0xdeadbeef << 32

func (m memory) call(d *Dispatcher, at, size, out, room uint32) int32 {
	stack := []uint64{junk | uint64(at), junk | uint64(size), junk | uint64(out), junk | uint64(room)}
	d.Call(m, stack)
	return result(stack)
}

func (m memory) more(d *Dispatcher, offset, out, room uint32) int32 {
	stack := []uint64{junk | uint64(offset), junk | uint64(out), junk | uint64(room)}
	d.More(m, stack)
	return result(stack)
}

func result(stack []uint64) int32 {
	if stack[0]>>32 != 0 {
		panic("the upper half of the result is not empty")
	}
	return int32(uint32(stack[0]))
}

// member reads a member of a reply's line.
func member(t testing.TB, reply, name string) any {
	t.Helper()
	line, _, _ := strings.Cut(reply, "\n")
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatalf("%v: %.200q", err, reply)
	}
	return m[name]
}

// stagedFiles is what the turn wrote of the workspace: content by name.
func (w *world) stagedFiles() string {
	w.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(w.staged, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(w.staged, path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, fmt.Sprintf("%s=%.40q", name, found[name]))
	}
	return strings.Join(all, " ")
}

func (w *world) sequence() iter.Seq[ledger.Entry] {
	return func(yield func(ledger.Entry) bool) {
		for e, err := range w.exec.Since(w.begin) {
			if err != nil {
				w.t.Fatal(err)
			}
			if !yield(e) {
				return
			}
		}
	}
}
