//go:build linux

package govfs

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/agenthost/agenthost/host/record"
)

const (
	call  = ".agenthost/call"
	reads = `{"op":"read","path":"docs/a.md","length":4}` + "\n"
	reply = `{"ok":true,"size":10,"body":4}` + "\n0123"

	characterDevice = 2
	errnoExist      = 20
	errnoIO         = 29
	errnoNotDir     = 54
	errnoNotSup     = 58
	errnoROFS       = 69
)

// However a program opens the device, it is one.
func TestDeviceOpens(t *testing.T) {
	in := newInstance(t)
	for _, c := range []struct {
		name                    string
		oflags, rights, fdflags uint64
		errno                   uint32
	}{
		{"r+", 0, readRight | writeRight, 0, 0},
		{"w+", create | trunc, readRight | writeRight, 0, 0},
		{"a+", create, readRight | writeRight, appends, 0},
		{"r", 0, readRight, 0, 0},
		{"w", create | trunc, writeRight, 0, 0},
		{"x", create | excl, writeRight, 0, errnoExist},
		{"a folder", directory, readRight, 0, errnoNotDir},
	} {
		fd, errno := in.open(call, c.oflags, c.rights, c.fdflags)
		if errno != c.errno {
			t.Errorf("%s: errno %d, want %d", c.name, errno, c.errno)
			continue
		}
		if errno != 0 {
			continue
		}
		if op := in.last(); op.Op != record.OpOpen || op.Path != call || op.Decision != record.InPkg || op.Via != record.ViaWASI {
			t.Errorf("%s: recorded %+v", c.name, op)
		}
		in.write(fd, reads)
		if got := in.read(fd, 1000); got != reply {
			t.Errorf("%s: read %q", c.name, got)
		}
		if got := in.read(fd, 1000); got != "" {
			t.Errorf("%s: read %q after the reply", c.name, got)
		}
		if op := in.last(); op.Op != record.OpRead || op.Via != record.ViaABI {
			t.Errorf("%s: recorded %+v", c.name, op)
		}
		if errno := in.call("fd_close", fd); errno != 0 {
			t.Errorf("%s: close: errno %d", c.name, errno)
		}
	}
	if _, errno := in.open(call+"/x", 0, readRight, 0); errno != errnoNoEnt {
		t.Errorf("something beneath it: errno %d", errno)
	}
	if _, errno := in.open(call+"/", 0, readRight, 0); errno != errnoNotDir {
		t.Errorf("with a slash: errno %d", errno)
	}
}

// What programs and their libraries do to a file they do not know.
func TestDeviceAsFile(t *testing.T) {
	in := newInstance(t)
	fd := in.opened(call, 0, readRight|writeRight, 0)
	in.call("fd_fdstat_get", fd, answer)
	if kind, _ := in.module.Memory().ReadByte(answer); kind != characterDevice {
		t.Errorf("it is of type %d", kind)
	}
	in.call("fd_filestat_get", fd, answer)
	kind, _ := in.module.Memory().ReadByte(answer + 16)
	if size, _ := in.module.Memory().ReadUint64Le(answer + 32); kind != characterDevice || size != 0 {
		t.Errorf("it is of type %d and has %d bytes", kind, size)
	}
	at, size := in.path(call)
	if errno := in.call("path_filestat_get", root, 0, at, size, answer); errno != 0 {
		t.Errorf("stat: errno %d", errno)
	}
	for _, c := range []struct {
		name   string
		params []uint64
		errno  uint32
	}{
		{"fd_tell", []uint64{fd, answer}, 0},
		{"fd_seek", []uint64{fd, 0, 0, answer}, 0},
		{"fd_seek", []uint64{fd, 0, 1, answer}, 0},
		{"fd_seek", []uint64{fd, 0, 2, answer}, 0},
		{"fd_seek", []uint64{fd, 1, 0, answer}, errnoInval},
		{"fd_seek", []uint64{fd, math.MaxUint64, 1, answer}, errnoInval},
		{"fd_seek", []uint64{fd, 0, 3, answer}, errnoInval},
		{"fd_sync", []uint64{fd}, 0},
		{"fd_datasync", []uint64{fd}, 0},
		{"fd_filestat_set_size", []uint64{fd, 0}, errnoInval},
		{"fd_allocate", []uint64{fd, 0, 100}, errnoInval},
		{"fd_pread", []uint64{fd, vector, 1, 0, answer}, errnoNotSup},
		{"fd_pwrite", []uint64{fd, vector, 1, 0, answer}, errnoNotSup},
		{"fd_filestat_set_times", []uint64{fd, 0, 0, 2 | 8}, errnoROFS},
		{"fd_fdstat_set_flags", []uint64{fd, appends}, 0},
		{"path_unlink_file", []uint64{root, at, size}, errnoROFS},
		{"path_remove_directory", []uint64{root, at, size}, errnoROFS},
		{"path_rename", []uint64{root, at, size, root, at, size}, errnoROFS},
		{"path_create_directory", []uint64{root, at, size}, errnoExist},
	} {
		in.path(call)
		in.buffer(10)
		if errno := in.call(c.name, c.params...); errno != c.errno {
			t.Errorf("%s%v: errno %d, want %d", c.name, c.params[1:], errno, c.errno)
		}
	}
	// None of it disturbs the conversation.
	in.write(fd, reads[:7])
	in.call("fd_seek", fd, 0, 1, answer)
	in.write(fd, reads[7:])
	in.call("fd_seek", fd, 0, 0, answer)
	if got := in.read(fd, 10) + in.read(fd, 1000); got != reply {
		t.Errorf("read %q", got)
	}
	if in.write(fd, reads); in.call("fd_write", fd, vector, 1, answer) != errnoIO {
		t.Error("a request before the reply was read is taken")
	}
	in.buffer(10)
	if errno := in.call("fd_read", fd, vector, 1, answer); errno != errnoIO {
		t.Errorf("read after that: errno %d", errno)
	}
	if errno := in.call("fd_close", fd); errno != 0 {
		t.Errorf("close: errno %d", errno)
	}
}

// A library writes its buffer and what comes after it in one call, and reads into
// two buffers.
func TestDeviceVectors(t *testing.T) {
	in := newInstance(t)
	fd := in.opened(call, 0, readRight|writeRight, 0)
	vectors := func(sizes ...uint32) {
		at := uint32(dataAt)
		for i, size := range sizes {
			in.module.Memory().WriteUint32Le(vector+uint32(i)*8, at)
			in.module.Memory().WriteUint32Le(vector+uint32(i)*8+4, size)
			at += size
		}
	}
	in.module.Memory().WriteString(dataAt, reads)
	vectors(10, uint32(len(reads))-10, 0)
	if errno := in.call("fd_write", fd, vector, 3, answer); errno != 0 || in.result() != uint32(len(reads)) {
		t.Fatalf("errno %d, %d bytes", errno, in.result())
	}
	vectors(3, 1000)
	if errno := in.call("fd_read", fd, vector, 2, answer); errno != 0 || in.data(in.result()) != reply {
		t.Errorf("errno %d, read %q", errno, in.data(in.result()))
	}
}

// Descriptors of the device are of their own, and a renumbered one goes on.
func TestDeviceDescriptors(t *testing.T) {
	in := newInstance(t)
	a := in.opened(call, 0, readRight|writeRight, 0)
	b := in.opened(call, 0, readRight|writeRight, 0)
	in.write(a, reads[:10])
	in.write(b, `{"op":"result"}`+"\n")
	in.call("fd_renumber", a, 20)
	in.write(20, reads[10:])
	if got := in.read(b, 100); got != "{\"ok\":true}\n" {
		t.Errorf("b read %q", got)
	}
	if got := in.read(20, 100); got != reply {
		t.Errorf("a read %q", got)
	}
	in.write(20, reads)
	in.call("fd_renumber", b, 20) // closes what was there
	if got := in.read(20, 100); got != "" {
		t.Errorf("b read what a was told: %q", got)
	}
}

// The folder it lies in says what it is.
func TestDeviceListed(t *testing.T) {
	in := newInstance(t)
	fd := in.opened(".agenthost", directory, readRight, 0)
	if errno := in.call("fd_readdir", fd, dataAt, 1000, 0, answer); errno != 0 {
		t.Fatalf("errno %d", errno)
	}
	kinds := map[string]byte{}
	for b := []byte(in.data(in.result())); len(b) >= 24; {
		n := binary.LittleEndian.Uint32(b[16:])
		kinds[string(b[24:24+n])] = b[20]
		b = b[24+n:]
	}
	if len(kinds) != 6 || kinds["call"] != characterDevice || kinds["deps"] != 3 || kinds["policy.json"] != 4 {
		t.Errorf("got %v", kinds)
	}
}
