package host

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/ledger"
)

// What ends a guest is told apart by whose fault it is.
func TestJudge(t *testing.T) {
	fault := func() (err error) {
		defer func() { err = fmt.Errorf("%w (recovered by wazero)\nwasm stack trace:\n\tx", recover().(error)) }()
		return []error{}[len(t.Name())]
	}()
	one := int64(1)
	for _, c := range []struct {
		name, status, code, limit string
		ending                    ending
	}{
		{"the host panics", "error", "host", "", ending{err: fault}},
		{"the host panics while memory is short", "error", "host", "", ending{err: fault, grown: true}},
		{"wazero's own stack ends", "error", "limit", "call_depth", ending{err: errors.New("stack overflow")}},
		{"a trap", "error", "trap", "", ending{err: errors.New("wasm error: unreachable\nwasm stack trace:\n\tx")}},
		{"a trap for want of memory", "error", "limit", "memory", ending{err: errors.New("wasm error: unreachable"), grown: true}},
		{"an exit for want of memory", "error", "limit", "memory", ending{exit: &one, grown: true}},
		{"well, without the memory", "ok", "", "", ending{exit: new(int64), grown: true}},
		{"memory the host does not have", "error", "host", "", ending{err: &gate.HostError{Doing: "make an instance", Err: errors.New("mmap")}}},
	} {
		var r Result
		r.judge(c.ending, bounds{limits: defaultLimits(), asked: defaultLimits()})
		if r.Status != c.status || r.Code != c.code || r.Limit != c.limit {
			t.Errorf("%s: got %s %q %q, want %s %q %q", c.name, r.Status, r.Code, r.Limit, c.status, c.code, c.limit)
		}
	}
}

// A failure of the host does not hide how the turn ended before it.
func TestHostFailureComesSecond(t *testing.T) {
	disk := errors.New("no space left on device")
	for _, c := range []struct {
		before, code string
		err          error
		status, now  string
	}{
		{"ok", "", disk, "error", "host"},
		{"ok", "", context.Canceled, "aborted", "interrupted"},
		{"blocked", "violation", disk, "blocked", "violation"},
		{"blocked", "violation", context.Canceled, "blocked", "violation"},
		{"error", "limit", disk, "error", "limit"},
	} {
		r := run{result: Result{Status: c.before, Code: c.code}}
		if err := r.hostFailed(c.err); err != nil {
			t.Error(err)
		}
		if r.result.Status != c.status || r.result.Code != c.now {
			t.Errorf("%s %s, then %v: got %s %s, want %s %s", c.before, c.code, c.err, r.result.Status, r.result.Code, c.status, c.now)
		}
	}
	r := run{result: Result{Status: "ok"}}
	if err := r.hostFailed(fmt.Errorf("append: %w", ledger.ErrPoisoned)); !errors.Is(err, ledger.ErrPoisoned) {
		t.Errorf("got %v, want what poisoned the ledger", err)
	}
}
