package govfs

import (
	"io/fs"
	"path"

	"github.com/tetratelabs/wazero/api"

	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/record"
)

// WASI's errnos that a guard answers with.
const (
	errnoBadF  = 8
	errnoInval = 28
	errnoNoEnt = 44
	errnoPerm  = 63
)

// maxVectors is how many buffers one read, write or poll may name, as POSIX's
// IOV_MAX.
const maxVectors = 1024

// maxDescriptor is the highest number a guest may give a descriptor. wazero
// keeps a table up to the highest one, whatever is in it.
const maxDescriptor = 1 << 14

// A Guard looks at the arguments of one WASI function before wazero does. It
// answers for paths that cannot exist (wazero would copy a path of any length,
// and answers without asking the file system for one that is absolute, is not
// UTF-8, or leads above the folder it starts from), and bounds what a call can
// make the host do.
type Guard struct {
	op     string // of the ledger
	paths  []span // parameters that hold a path
	counts int    // the parameter that counts buffers, or -1
	bytes  int    // the parameter that says how many bytes are made, or -1
	number int    // the parameter that is a descriptor's new number, or 0
}

// A span is where a path's address and length stand among the parameters.
type span struct {
	at, size int
	content  bool // it is what a link would hold: any text
}

var guards = map[string]Guard{
	"path_open":               {op: record.OpOpen, paths: []span{{at: 2, size: 3}}, counts: -1, bytes: -1},
	"path_create_directory":   {op: record.OpMkdir, paths: []span{{at: 1, size: 2}}, counts: -1, bytes: -1},
	"path_filestat_get":       {op: record.OpStat, paths: []span{{at: 2, size: 3}}, counts: -1, bytes: -1},
	"path_filestat_set_times": {op: record.OpSetTimes, paths: []span{{at: 2, size: 3}}, counts: -1, bytes: -1},
	"path_link":               {op: record.OpLink, paths: []span{{at: 2, size: 3}, {at: 5, size: 6}}, counts: -1, bytes: -1},
	"path_readlink":           {op: record.OpReadlink, paths: []span{{at: 1, size: 2}}, counts: -1, bytes: -1},
	"path_remove_directory":   {op: record.OpDelete, paths: []span{{at: 1, size: 2}}, counts: -1, bytes: -1},
	"path_rename":             {op: record.OpRename, paths: []span{{at: 1, size: 2}, {at: 4, size: 5}}, counts: -1, bytes: -1},
	"path_symlink":            {op: record.OpSymlink, paths: []span{{at: 3, size: 4}, {at: 0, size: 1, content: true}}, counts: -1, bytes: -1},
	"path_unlink_file":        {op: record.OpDelete, paths: []span{{at: 1, size: 2}}, counts: -1, bytes: -1},
	"fd_read":                 {counts: 2, bytes: -1},
	"fd_pread":                {counts: 2, bytes: -1},
	"fd_write":                {counts: 2, bytes: -1},
	"fd_pwrite":               {counts: 2, bytes: -1},
	"sock_recv":               {counts: 2, bytes: -1},
	"sock_send":               {counts: 2, bytes: -1},
	"poll_oneoff":             {counts: 2, bytes: -1},
	"fd_renumber":             {counts: -1, bytes: -1, number: 1},
	"fd_readdir":              {counts: -1, bytes: 2},
	"random_get":              {counts: -1, bytes: 1},
}

// GuardOf returns the guard of a WASI function. That of a function without such
// arguments lets every call through.
func GuardOf(function string) Guard {
	if g, ok := guards[function]; ok {
		return g
	}
	return Guard{counts: -1, bytes: -1}
}

// Refuse answers a call whose arguments cannot be served. charge takes fuel for
// what the call makes the host do. The upper halves of i32 parameters hold
// anything: they are cut off.
func (d Guard) Refuse(g *gate.Gate, module api.Module, params []uint64, charge func(int64)) (errno uint32, refused bool) {
	if d.counts >= 0 && uint32(params[d.counts]) > maxVectors {
		return errnoInval, true
	}
	if d.number > 0 && uint32(params[d.number]) > maxDescriptor {
		return errnoBadF, true
	}
	if d.bytes >= 0 {
		charge(int64(uint32(params[d.bytes])))
	}
	for _, s := range d.paths {
		size := uint32(params[s.size])
		charge(int64(size))
		raw, ok := module.Memory().Read(uint32(params[s.at]), min(size, gate.MaxName+1))
		if !ok {
			continue // wazero answers EFAULT
		}
		text := string(raw)
		if size <= gate.MaxName && (s.content || fs.ValidPath(path.Clean(text))) {
			continue
		}
		if g.Impossible(gate.WASI, d.op, text, int64(size)) == gate.Perm {
			return errnoPerm, true
		}
		return errnoNoEnt, true
	}
	return 0, false
}
