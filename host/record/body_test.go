package record

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

func hashOf(s string) ledger.Hash { return ledger.Sum([]byte(s)) }

func ptr[T any](v T) *T { return &v }

func everyFence(tier string) Fence {
	return Fence{
		tier, "6.1.0", 1,
		[]string{"user", "pid"},
		2, 3, 4, 5, "cgroup v2", "polled",
		CommandLimits{1, 2, 3, 4, 5, 6, 7, 8, 9},
	}
}

// everyBody holds each kind twice: with all members, and with as few as can be.
func everyBody() []ledger.Body {
	limits := Limits{1, 2, 3, 4, 5, 6, 7, 8}
	grants := capability.Grants{
		Read: []string{"docs/**"}, Write: []string{"out/*"},
		Execute: []capability.Command{{"git", "log"}, {"ls"}}, Forbidden: []string{"docs/private/**"},
	}
	none := capability.Grants{}
	return []ledger.Body{
		SessionOpen{"0.1.0", Package{"PKG-A", "1.0.0", hashOf("p")}, hashOf("m"), "ho1", "wazero 1.12.0", "amd64", hashOf("s"), ProcessKey{"k", "h", "s"}},
		SessionResume{ProcessKey{"k", "h", "s"}},
		TurnBegin{
			hashOf("r"), hashOf("p"), grants,
			[]string{".env*"},
			"flag", "WO-1", "2026-01-02T03:04:05.006Z",
			&Blob{hashOf("q"), 1}, &Blob{hashOf("a"), 2},
			[]File{{"docs/a.md", hashOf("a"), 12}},
			[]Output{{"out/r.md", "report", true, true}, {"x", "y", false, false}},
			limits, true, true, 2,
		},
		TurnBegin{Granted: none, AsOf: "x", Withheld: []string{}, Inputs: []File{}, Outputs: []Output{}},
		Op{"open", "wasi", "docs/a.md", "b", "read", "granted", "read", "s", "rule", "grant", "success", ptr[int64](0), ptr(hashOf("")), 3},
		Op{Op: "stat", Via: "wasi", Decision: "hidden", Errno: "noent"},
		Digest{7, "docs/a.md", hashOf("d"), 9, []Range{{1, 2}, {3, 4}}},
		Digest{Of: 1, SHA256: hashOf("d")},
		ExecStart{
			Blob{hashOf("v"), 1},
			"docs",
			File{"pkg:x.py", hashOf("x"), 2},
			&File{"/usr/bin/python3", hashOf("y"), 3},
			Content{hashOf("i"), 4},
			View{Blob{hashOf("l"), 5}, 6, 7},
			everyFence("full"),
		},
		ExecStart{Fence: Fence{Namespaces: []string{}}, Program: File{Path: "/usr/bin/true"}},
		ExecEnd{
			9, "no", -1, 9, "time", &Blob{hashOf("o"), 1}, "tmp/o", &Blob{hashOf("e"), 2}, true,
			&Usage{1, 2, 3, 4, 5}, ptr(everyFence("landlock")),
		},
		ExecEnd{Of: 9},
		Stderr{Blob{hashOf("e"), 3}, true},
		Stderr{},
		TurnEnd{"ok", "c", "l", "m", ptr[int64](-1), &Blob{hashOf("r"), 1}, EvidenceHead{4, hashOf("e")}, []Publication{
			{"a", "r", hashOf("a"), 1, nil, false},
			{"b", "r", hashOf("b"), 1, ptr(hashOf("x")), true},
		}, 1, 2, 3},
		TurnEnd{Status: "aborted", Publish: []Publication{}},
		Recovered{"exec.jsonl.torn-12", 12, 3, hashOf("t"), true, 3},
		Erased{hashOf("b"), "asked for"},
		SessionClose{2},
		Violation{"read", "docs/private/a", "forbidden docs/private/**", "read: docs/private/a"},
		Violation{Operation: "write", Subject: "x", Rule: "no grant of write"},
		TurnEvidence{
			"SES-1", 1, "WO-1",
			[]File{{"a", hashOf("a"), 1}},
			[]Output{{"o", "r", false, false}},
			[]File{{"a", ledger.Hash{}, 1}},
			[]File{{"o", hashOf("o"), 1}},
			[]string{"u"},
			[]ExternalCall{{3}},
			[]Violation{{"read", "x", "y", ""}},
			[]Probe{{"h", 2}},
			[]File{{"tmp/x", hashOf("x"), 1}},
			grants,
			[]string{".env*"},
			"none", 1, 9, hashOf("head"),
		},
	}
}

func TestEveryKindReadsBackAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	log, err := ledger.Create(path, ledger.Options{Session: "SES-1", Now: func() time.Time { return time.Unix(1, 0) }})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	bodies := everyBody()
	for _, b := range bodies {
		if _, err := log.Append(1, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for e, err := range ledger.Read(path) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(e)
		if err != nil {
			t.Fatal(err)
		}
		kinds[e.Kind] = true
		if want := bodies[e.Seq]; !reflect.DeepEqual(got, want) && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("seq %d: got %+v, want %+v", e.Seq, got, want)
		}
	}
	if len(kinds) != 14 {
		t.Errorf("got %d kinds, want all 14", len(kinds))
	}
}

// Every blob that a body names is among its blobs.
func TestBlobsOf(t *testing.T) {
	var walk func(v reflect.Value, found map[ledger.Hash]bool)
	walk = func(v reflect.Value, found map[ledger.Hash]bool) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem(), found)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i), found)
			}
		case reflect.Struct:
			if b, ok := v.Interface().(Blob); ok {
				found[b.Blob] = true
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i), found)
			}
		}
	}
	some := 0
	for _, body := range everyBody() {
		want, got := map[ledger.Hash]bool{}, map[ledger.Hash]bool{}
		if open, ok := body.(SessionOpen); ok {
			want[open.Seed] = true
		}
		walk(reflect.ValueOf(body), want)
		for _, h := range BlobsOf(body) {
			got[h] = true
		}
		if some += len(got); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", body.Kind(), got, want)
		}
	}
	if some != 11 {
		t.Errorf("got %d blobs in all bodies, want 11", some)
	}
}

// bodyLine is a line with the given own members; its hashes are not right, and
// Decode does not ask for them.
func bodyLine(kind, own string) ledger.Entry {
	if own != "" {
		own = "," + own
	}
	zeros := strings.Repeat("0", 64)
	line := `{"v":1,"seq":0,"ts":"2026-01-02T03:04:05.000000006Z","mono_ns":0,"kind":"` + kind + `","sid":"SES-1","turn":1` + own +
		`,"prev":"` + zeros + `","hash":"` + zeros + `"}`
	return ledger.Entry{Kind: kind, Line: []byte(line)}
}

func TestDecodeIsStrict(t *testing.T) {
	hash := hashOf("x").String()
	for _, c := range []struct{ kind, own, want string }{
		{"session.close", `"turns":1`, ""},
		{"session.close", `"turns":1,"more":2`, `entry session.close: json: unknown field "more"`},
		{"session.close", ``, "entry session.close: members are not written as this format writes them"},
		{"session.close", `"turns":null`, "entry session.close: members are not written as this format writes them"},
		{"session.close", `"turns":1,"turns":1`, "entry session.close: members are not written as this format writes them"},
		{"session.close", `"Turns":1`, "entry session.close: members are not written as this format writes them"},
		{"session.close", `"turns":01`, "entry session.close: invalid character '1' after object key:value pair"},
		{"session.close", `"turns":1e0`, "entry session.close: json: cannot unmarshal number 1e0 into Go struct field SessionClose.turns of type int64"},
		{"session.close", `"turns": 1`, "entry session.close: members are not written as this format writes them"},
		{"session.close", `"turns":1}{"a":1`, "entry session.close: something follows its members"},
		{"erased", `"why":"x","blob":"` + hash + `"`, "entry erased: members are not written as this format writes them"},
		{"erased", `"blob":"` + strings.ToUpper(hash) + `","why":"x"`, `entry erased: digest "` + strings.ToUpper(hash) + `": want sha256: and 64 lower-case hexadecimal digits`},
		{"erased", `"blob":"` + hash + `","why":"\u0041"`, "entry erased: members are not written as this format writes them"},
		{"exec.end", `"of":1,"exit":0`, ""},
		{"exec.end", `"of":1,"exit":0,"signal":0`, "entry exec.end: members are not written as this format writes them"},
		{"exec.end", `"of":1,"exit":0,"failed":"x"`, "entry exec.end: members are not written as this format writes them"},
		{"exec.end", `"of":1,"exit":0,"truncated":false`, "entry exec.end: members are not written as this format writes them"},
		{"exec.end", `"of":1,"exit":0,"stdout":null`, "entry exec.end: members are not written as this format writes them"},
		{"exec.end", `"of":1,"exit":0,"stdout":{"blob":"` + hash + `","size":1,"files":1}`, `entry exec.end: json: unknown field "files"`},
		{"exec.end", `"of":1,"exit":0,"usage":{}`, "entry exec.end: members are not written as this format writes them"},
		{"exec.end", `"of":-1,"exit":0`, "entry exec.end: json: cannot unmarshal number -1 into Go struct field ExecEnd.of of type uint64"},
		{"exec.start", `"argv":{}`, "entry exec.start: members are not written as this format writes them"},
		{"exec.start", `"argv":"git"`, "entry exec.start: json: cannot unmarshal string into Go struct field ExecStart.argv of type record.Blob"},
		{"exec.begin", `"a":1`, "entry exec.begin: this version does not know the kind"},
	} {
		_, err := Decode(bodyLine(c.kind, c.own))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind, c.own, got, c.want)
		}
	}
}

func TestDecodeRefusesAnotherKind(t *testing.T) {
	err := bodyLine("erased", `"turns":1`).Decode(new(SessionClose))
	if want := "entry erased: decoded as session.close"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Decode(ledger.Entry{Kind: "op"}); err == nil || errors.Unwrap(err) != nil {
		t.Errorf("an entry without line: got %v", err)
	}
}

func TestWhatGuestsCauseIsAppendedWithoutAllocating(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	op := &Op{
		Op: OpOpen, Via: ViaWASI, Path: "docs/a.md", Flags: "read", Decision: Granted, Rule: "docs/**",
		Errno: ErrnoSuccess, Size: ptr[int64](5), SHA256: ptr(hashOf("alpha")),
	}
	digest := &Digest{Of: 7, Path: "tmp/x", SHA256: hashOf("x"), Size: 1}
	end := &ExecEnd{Of: 7, Stdout: &Blob{hashOf("o"), 1}, Stderr: &Blob{hashOf("e"), 2}, Usage: &Usage{}, Fence: ptr(everyFence("full"))}
	start := &ExecStart{Argv: Blob{hashOf("v"), 1}, Interpreter: &File{"/bin/sh", hashOf("s"), 3}, Fence: everyFence("full")}
	for _, body := range []ledger.Body{op, digest, end, start} {
		if n := testing.AllocsPerRun(200, func() { b.append(b.exec, 1, body) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", body.Kind(), n)
		}
	}
}
