//go:build linux

package govfs

import (
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

// TestGuards compares the table with the parameters of wazero's functions: every
// path is looked at, every count is bounded.
func TestGuards(t *testing.T) {
	in := newInstance(t)
	for name, def := range in.functions {
		guard, params := GuardOf(name), def.ParamNames()
		for i, param := range params {
			switch {
			case strings.HasSuffix(param, "path") && !strings.HasPrefix(param, "result."):
				if params[i+1] != param+"_len" {
					t.Fatalf("%s: %s is followed by %s", name, param, params[i+1])
				}
				if !slices.ContainsFunc(guard.paths, func(s span) bool { return s.at == i && s.size == i+1 }) {
					t.Errorf("%s: %s is not looked at", name, param)
				}
			case param == "iovs_len", param == "ri_data_count", param == "si_data_count", param == "nsubscriptions":
				if guard.counts != i {
					t.Errorf("%s: %s is not bounded", name, param)
				}
			case param == "buf_len" && name != "path_readlink":
				if guard.bytes != i {
					t.Errorf("%s: %s is not charged", name, param)
				}
			}
		}
		if strings.HasPrefix(name, "path_") != (len(guard.paths) > 0 && guard.op != "") {
			t.Errorf("%s: %+v", name, guard)
		}
	}
	for name := range guards {
		if in.functions[name] == nil {
			t.Errorf("%s: there is no such function", name)
		}
	}
}

// TestGuardPaths gives every function that takes a path paths that cannot be.
func TestGuardPaths(t *testing.T) {
	in := newInstance(t)
	links := []string{"path_link", "path_symlink", "path_readlink"}
	for name, guard := range guards {
		for _, s := range guard.paths {
			for path, impossible := range map[string]bool{
				"docs/x": false, ".": false, "": false, "a/..": false, "a//b": false, "a/": false, "a\x00b": false,
				"..": true, "../x": true, "a/../../x": true, "/x": true, "/": true, "\xff": true, "a/\xc0\xaf": true,
				strings.Repeat("a", gate.MaxName): false, strings.Repeat("a", gate.MaxName+1): true,
			} {
				at, size := in.path(path)
				params := make([]uint64, 9)
				for i := range params {
					params[i] = 0xffffffff << 32
				}
				for _, other := range guard.paths {
					params[other.at] |= dataAt // an empty path
				}
				params[s.at] = at | 0xffffffff<<32
				params[s.size] |= size
				before := in.exec.Head().Size + uint64(in.hiddenAgain())
				errno, refused := guard.Refuse(in.gate, in.module, params, func(int64) {})
				recorded := in.exec.Head().Size + uint64(in.hiddenAgain()) - before
				want := impossible && (!s.content || size > gate.MaxName)
				if refused != want || want != (recorded == 1) {
					t.Errorf("%s %.20q: refused %v, want %v; %d entries", name, path, refused, want, recorded)
				}
				if want && errno != noent && !slices.Contains(links, name) || want && errno != perm && slices.Contains(links, name) {
					t.Errorf("%s %.20q: errno %d", name, path, errno)
				}
			}
		}
	}
}

// hiddenAgain is how many probes were counted and not recorded.
func (in *instance) hiddenAgain() int64 {
	calls, _ := in.gate.Counts()
	ops := int64(0)
	for e, err := range in.exec.Since(in.begin) {
		if err != nil {
			in.t.Fatal(err)
		}
		if e.Kind == record.KindOp {
			ops++
		}
	}
	return calls - ops
}

// TestGuardLengths gives addresses and lengths near the ends of numbers.
func TestGuardLengths(t *testing.T) {
	in := newInstance(t)
	in.path("docs/a.md")
	const page = 65536
	for _, c := range []struct {
		at, size uint64
		refused  bool
	}{
		{pathAt, 1<<32 - 1, true},     // far too long, and its beginning can be read
		{pathAt, 1 << 31, true},       //
		{pathAt, 4097, true},          //
		{page - 1, 1, false},          // the last byte
		{page, 0, false},              // nothing behind it
		{page, 1, false},              // wazero answers EFAULT
		{page - 1, 2, false},          //
		{1<<32 - 1, 1, false},         //
		{1<<32 - 1, 1<<32 - 1, false}, //
		{page - 4096, 4097, false},    //
	} {
		params := []uint64{root, 0, c.at | 7<<32, c.size | 7<<32, answer}
		charged := int64(0)
		_, refused := GuardOf("path_filestat_get").Refuse(in.gate, in.module, params, func(n int64) { charged += n })
		if refused != c.refused || charged != int64(c.size) {
			t.Errorf("%d bytes at %d: refused %v, charged %d", c.size, c.at, refused, charged)
		}
	}
	equal(t, "outside of memory", in.call("path_filestat_get", root, 0, page, 1, answer), 21)
	equal(t, "recorded", in.last().Path, `docs/a.md`+strings.Repeat(`\x00`, 256-9)+"… (4097 bytes)")
}

// TestGuardCounts bounds how many buffers one call may name.
func TestGuardCounts(t *testing.T) {
	in := newInstance(t)
	for _, name := range []string{"fd_read", "fd_pread", "fd_write", "fd_pwrite", "poll_oneoff", "sock_recv", "sock_send"} {
		for count, refused := range map[uint64]bool{0: false, 1: false, 1024: false, 1025: true, 1<<32 - 1: true, 1 << 32: false, 1<<32 | 1025: true} {
			errno, got := GuardOf(name).Refuse(in.gate, in.module, []uint64{0, 0, count, 0, 0, 0}, func(int64) {})
			if got != refused || refused && errno != inval {
				t.Errorf("%s of %d: refused %v, errno %d", name, count, got, errno)
			}
		}
	}
	for name, at := range map[string]int{"random_get": 1, "fd_readdir": 2} {
		params := []uint64{0, 0, 0, 0, 0}
		params[at] = 0xff<<32 | 0xfffffff0
		charged := int64(0)
		if _, refused := GuardOf(name).Refuse(in.gate, in.module, params, func(n int64) { charged += n }); refused || charged != 0xfffffff0 {
			t.Errorf("%s: refused %v, charged %d", name, refused, charged)
		}
	}
	if _, refused := GuardOf("proc_exit").Refuse(in.gate, in.module, []uint64{1}, nil); refused {
		t.Error("a function without such arguments is refused")
	}
}

// TestBytesAreCharged reads through a thousand buffers in one call.
func TestBytesAreCharged(t *testing.T) {
	in := newInstance(t)
	fd := in.opened("docs/a.md", 0, readRight, 0)
	for i := range uint32(1024) {
		in.module.Memory().WriteUint32Le(32768+i*8, 8)
		in.module.Memory().WriteUint32Le(32768+i*8+4, 1)
	}
	in.charged = 0
	equal(t, "read", in.call("fd_pread", fd, 32768, 1024, 0, answer), ok)
	equal(t, "bytes", in.result(), 10)
	equal(t, "fuel", in.charged, 10)
}
