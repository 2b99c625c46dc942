//go:build linux

package govfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	expsys "github.com/tetratelabs/wazero/experimental/sys"

	"github.com/agenthost/agenthost/host/internal/gate"
)

// Numbers of WASI.
const (
	ok, badf, exist, inval, isdir, noent, notdir, notempty, perm, rofs = 0, 8, 20, 28, 31, 44, 54, 55, 63, 69
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestFlags(t *testing.T) {
	for from, want := range map[expsys.Oflag]gate.Flags{
		expsys.O_RDONLY: gate.Read,
		expsys.O_RDWR:   gate.Read | gate.Write,
		expsys.O_WRONLY: gate.Write,
		expsys.O_WRONLY | expsys.O_CREAT | expsys.O_EXCL:                    gate.Write | gate.Create | gate.Excl,
		expsys.O_RDWR | expsys.O_TRUNC:                                      gate.Read | gate.Write | gate.Trunc,
		expsys.O_RDWR | expsys.O_APPEND:                                     gate.Read | gate.Write | gate.Append,
		expsys.O_DIRECTORY:                                                  gate.Read | gate.Directory,
		expsys.O_NOFOLLOW | expsys.O_NONBLOCK:                               gate.Read,
		expsys.O_SYNC | expsys.O_DSYNC | expsys.O_RSYNC | expsys.O_WRONLY:   gate.Write,
		expsys.O_RDONLY | expsys.O_CREAT | expsys.O_APPEND | expsys.O_TRUNC: gate.Read | gate.Create | gate.Append | gate.Trunc,
	} {
		if got := flagsOf(from); got != want {
			t.Errorf("%b: got %s, want %s", from, got, want)
		}
	}
}

// TestErrnos holds that every errno of the gate has one of wazero's, by the same
// name.
func TestErrnos(t *testing.T) {
	names := map[string]string{
		"success": "", "acces": "permission denied", "badf": "bad file descriptor", "exist": "file exists", "inval": "invalid argument",
		"io": "input/output error", "isdir": "is a directory", "nametoolong": "filename too long", "noent": "no such file or directory",
		"notdir": "not a directory or a symbolic link to a directory", "notempty": "directory not empty", "notsup": "not supported (may be the same value as [EOPNOTSUPP])", "perm": "operation not permitted", "rofs": "read-only file system",
	}
	equal(t, "errnos", len(toErrno), len(names))
	for errno := range toErrno {
		e := gate.Errno(errno)
		want, known := names[e.String()]
		if e != gate.Success && (!known || toErrno[e] == 0) {
			t.Errorf("%s has no errno", e)
		}
		if got := toErrno[e].Error(); e != gate.Success && got != want {
			t.Errorf("%s: %q, want %q", e, got, want)
		}
	}
}

// TestOpen opens through wazero.
func TestOpen(t *testing.T) {
	in := newInstance(t)
	for _, c := range []struct {
		path          string
		oflags, right uint64
		want          uint32
	}{
		{"docs/a.md", 0, readRight, ok},
		{"docs/a.md/", 0, readRight, notdir},
		{"docs/a.md", directory, readRight, notdir},
		{"docs", directory, readRight, ok},
		{"docs", 0, readRight, ok},
		{".", 0, readRight, ok},
		{"./docs/../docs//a.md", 0, readRight, ok},
		{"secret", 0, readRight, noent},
		{"absent", 0, readRight, noent},
		{"docs/a.md", create | excl, writeRight, exist},
		{"out", 0, writeRight, isdir},
		{".agenthost/x", create, writeRight, rofs},
		{"docs/new.md", create | directory, writeRight, inval},
		{"/docs/a.md", 0, readRight, noent},
		{"..", 0, readRight, noent},
		{"docs/../../x", 0, readRight, noent},
		{"docs/\xff", 0, readRight, noent},
		{"docs/a.md\x00", 0, readRight, noent},
		{strings.Repeat("./", 2043) + "docs/a.md", 0, readRight, ok},
		{strings.Repeat("./", 2044) + "docs/a.md", 0, readRight, noent},
		{strings.Repeat("x", 10_000), 0, readRight, noent},
	} {
		fd, errno := in.open(c.path, c.oflags, c.right, 0)
		equal(t, fmt.Sprintf("open %.40q", c.path), errno, c.want)
		if errno == ok {
			equal(t, "close", in.call("fd_close", fd), ok)
			equal(t, "close again", in.call("fd_close", fd), badf)
		}
	}
	// Relative to a folder's descriptor, which is a name.
	docs := in.opened("docs", directory, readRight, 0)
	at, size := in.path("a.md")
	equal(t, "beneath docs", in.call("path_open", docs, 0, at, size, 0, readRight, 0, 0, answer), ok)
	equal(t, "recorded", in.last().Path, "docs/a.md")
	at, size = in.path("../secret")
	equal(t, "above docs", in.call("path_open", docs, 0, at, size, 0, readRight, 0, 0, answer), noent)
	equal(t, "recorded", in.last().Path, "../secret")
}

// TestReadWriteSeek moves through a file in every way.
func TestReadWriteSeek(t *testing.T) {
	in := newInstance(t)
	fd := in.opened("docs/a.md", 0, readRight|writeRight, 0)
	equal(t, "read", in.read(fd, 4), "0123")
	equal(t, "read on", in.read(fd, 100), "456789")
	equal(t, "read at the end", in.read(fd, 100), "")
	for _, c := range []struct {
		offset int64
		whence uint64
		to     uint64
		errno  uint32
	}{
		{3, io.SeekStart, 3, ok},
		{2, io.SeekCurrent, 5, ok},
		{-1, io.SeekCurrent, 4, ok},
		{-2, io.SeekEnd, 8, ok},
		{5, io.SeekEnd, 15, ok},
		{-1, io.SeekStart, 0, inval},
		{-16, io.SeekCurrent, 0, inval},
		{-11, io.SeekEnd, 0, inval},
		{1<<63 - 1, io.SeekCurrent, 0, inval},
		{1<<63 - 1, io.SeekEnd, 0, inval},
		{0, 3, 0, inval},
		{1<<63 - 1, io.SeekStart, 1<<63 - 1, ok},
		{1, io.SeekStart, 1, ok},
	} {
		to, errno := in.seek(fd, c.offset, c.whence)
		what := fmt.Sprintf("seek %d from %d", c.offset, c.whence)
		equal(t, what, errno, c.errno)
		if errno == ok {
			equal(t, what, to, c.to)
		}
	}
	in.write(fd, "ab")
	equal(t, "read behind what was written", in.read(fd, 2), "34")
	in.module.Memory().WriteString(dataAt, "XY")
	in.buffer(2)
	equal(t, "pwrite", in.call("fd_pwrite", fd, vector, 1, 7, answer), ok)
	equal(t, "the offset stays", in.read(fd, 2), "56")
	in.buffer(10)
	equal(t, "pread", in.call("fd_pread", fd, vector, 1, 0, answer), ok)
	equal(t, "pread", in.data(in.result()), "0ab3456XY9")
	equal(t, "the offset stays", in.read(fd, 2), "XY")
	equal(t, "pread at -1", in.call("fd_pread", fd, vector, 1, 1<<64-1, answer), inval)
	equal(t, "pwrite at -1", in.call("fd_pwrite", fd, vector, 1, 1<<64-1, answer), inval)
	equal(t, "truncate", in.call("fd_filestat_set_size", fd, 3), ok)
	equal(t, "truncate to -1", in.call("fd_filestat_set_size", fd, 1<<64-1), inval)
	in.seek(fd, 0, io.SeekStart)
	equal(t, "truncated", in.read(fd, 100), "0ab")
	equal(t, "allocate", in.call("fd_allocate", fd, 0, 5), ok)
	in.seek(fd, 0, io.SeekStart)
	equal(t, "allocated", in.read(fd, 100), "0ab\x00\x00")
	for _, sync := range []string{"fd_sync", "fd_datasync"} {
		equal(t, sync, in.call(sync, fd), ok)
	}
	in.call("fd_close", fd)
	for _, sync := range []string{"fd_sync", "fd_datasync"} {
		equal(t, sync+" when closed", in.call(sync, fd), badf)
	}
	if b, err := os.ReadFile(filepath.Join(in.dir, "docs/a.md")); err != nil || string(b) != "0123456789" {
		t.Errorf("the workspace: %q, %v", b, err)
	}
}

// TestAppend writes to the end, whatever the offset.
func TestAppend(t *testing.T) {
	in := newInstance(t)
	fd := in.opened("docs/a.md", 0, readRight|writeRight, appends)
	in.write(fd, "A")
	in.seek(fd, 0, io.SeekStart)
	in.write(fd, "B")
	in.seek(fd, 0, io.SeekStart)
	equal(t, "appended", in.read(fd, 100), "0123456789AB")
	equal(t, "append no more", in.call("fd_fdstat_set_flags", fd, 0), ok)
	in.seek(fd, 0, io.SeekStart)
	in.write(fd, "C")
	equal(t, "append again", in.call("fd_fdstat_set_flags", fd, appends), ok)
	in.write(fd, "D")
	in.seek(fd, 0, io.SeekStart)
	equal(t, "content", in.read(fd, 100), "C123456789ABD")
}

// TestRights holds that a descriptor does only what it was opened for.
func TestRights(t *testing.T) {
	in := newInstance(t)
	r, w := in.opened("docs/a.md", 0, readRight, 0), in.opened("docs/new.md", create, writeRight, 0)
	in.buffer(1)
	equal(t, "write to what is read", in.call("fd_write", r, vector, 1, answer), badf)
	equal(t, "truncate what is read", in.call("fd_filestat_set_size", r, 0), badf)
	equal(t, "read what is written", in.call("fd_read", w, vector, 1, answer), badf)
	d := in.opened("docs", directory, readRight, 0)
	if errno := in.call("fd_read", d, vector, 1, answer); errno == ok {
		t.Error("a folder was read")
	}
	if errno := in.call("fd_write", d, vector, 1, answer); errno == ok {
		t.Error("a folder was written")
	}
	equal(t, "read the wrong way", in.call("fd_readdir", r, dataAt, 1000, 0, answer), badf)
}

// TestStat holds what a guest learns of a file: nothing that differs between
// machines.
func TestStat(t *testing.T) {
	in := newInstance(t)
	stat := func(errno uint32) string {
		b, _ := in.module.Memory().Read(answer, 64)
		u := binary.LittleEndian.Uint64
		if errno != ok {
			return fmt.Sprint("errno ", errno)
		}
		return fmt.Sprintf("dev %d type %d links %d size %d times %v", u(b), b[16], u(b[24:]), u(b[32:]),
			u(b[40:]) == uint64(asOf.UnixNano()) && u(b[48:]) == u(b[40:]) && u(b[56:]) == u(b[40:]))
	}
	for p, want := range map[string]string{
		"docs/a.md": "dev 1 type 4 links 1 size 10 times true", "docs": "dev 1 type 3 links 1 size 0 times true",
		"secret": "errno 44", "docs/no": "errno 44", "docs/no/s": "errno 44", "docs/a.md/": "errno 54", "../x": "errno 44",
	} {
		at, size := in.path(p)
		equal(t, "stat "+p, stat(in.call("path_filestat_get", root, 1, at, size, answer)), want)
		equal(t, "lstat "+p, stat(in.call("path_filestat_get", root, 0, at, size, answer)), want)
	}
	fd := in.opened("docs/a.md", 0, readRight, 0)
	equal(t, "fstat", stat(in.call("fd_filestat_get", fd, answer)), "dev 1 type 4 links 1 size 10 times true")
	equal(t, "fstat of /", stat(in.call("fd_filestat_get", root, answer)), "dev 1 type 3 links 1 size 0 times true")
}

// TestReaddir pages through a folder with buffers of every size and begins again.
func TestReaddir(t *testing.T) {
	in := newInstance(t)
	for i := range 40 {
		fd := in.opened(fmt.Sprintf("tmp/file-%02d", i), create, writeRight, 0)
		in.call("fd_close", fd)
	}
	var want []string
	for size := uint64(64); size < 3000; size += 97 {
		fd := in.opened("tmp", directory, readRight, 0)
		for round := range 2 {
			var all []string
			for cookie := uint64(0); ; {
				if errno := in.call("fd_readdir", fd, dataAt, size, cookie, answer); errno != ok {
					t.Fatalf("%d bytes: errno %d", size, errno)
				}
				used := in.result()
				names, next := in.dirents(used)
				all = append(all, names...)
				if used < uint32(size) {
					break
				}
				cookie = next
			}
			if want == nil {
				want = all
			}
			equal(t, fmt.Sprintf("%d bytes, round %d", size, round), all, want)
		}
		in.call("fd_close", fd)
	}
	equal(t, "names", len(want), 42)
	equal(t, "first and last", want[0]+" "+want[1]+" "+want[2]+" "+want[41], ". .. file-00 file-39")

	f, errno := in.fs.OpenFile("docs", expsys.O_DIRECTORY, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	list := func(n int) (names []string) {
		entries, errno := f.Readdir(n)
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, e := range entries {
			kind := ""
			if e.Type == fs.ModeDir {
				kind = "/"
			}
			names = append(names, e.Name+kind)
		}
		return names
	}
	equal(t, "first", list(2), "[a.md b.md]")
	equal(t, "rest", list(-1), "[sub/]")
	equal(t, "end", list(5), "[]")
	if _, errno := f.Seek(1, io.SeekStart); errno != expsys.EINVAL {
		t.Errorf("seek: %v", errno)
	}
	if _, errno := f.Seek(0, io.SeekEnd); errno != expsys.EINVAL {
		t.Errorf("seek: %v", errno)
	}
	if _, errno := f.Seek(0, io.SeekStart); errno != 0 {
		t.Errorf("rewind: %v", errno)
	}
	equal(t, "again", list(0), "[a.md b.md sub/]")
	f.Close()
	if _, errno := f.Readdir(1); errno != expsys.EBADF {
		t.Errorf("when closed: %v", errno)
	}
	if _, errno := f.Ino(); errno != expsys.EBADF {
		t.Errorf("when closed: %v", errno)
	}
}

// TestChange makes, renames and deletes through wazero, and tries links.
func TestChange(t *testing.T) {
	in := newInstance(t)
	one := func(function, p string) uint32 {
		at, size := in.path(p)
		return in.call(function, root, at, size)
	}
	two := func(from, to string) uint32 {
		at, size := in.path(from + to)
		return in.call("path_rename", root, at, uint64(len(from)), root, at+uint64(len(from)), size-uint64(len(from)))
	}
	equal(t, "mkdir", one("path_create_directory", "tmp/d"), ok)
	equal(t, "mkdir again", one("path_create_directory", "tmp/d/"), exist)
	in.call("fd_close", in.opened("tmp/d/f", create, writeRight, 0))
	equal(t, "rmdir", one("path_remove_directory", "tmp/d"), notempty)
	equal(t, "unlink a folder", one("path_unlink_file", "tmp/d"), isdir)
	equal(t, "rmdir a file", one("path_remove_directory", "tmp/d/f"), notdir)
	equal(t, "rename", two("tmp/d/f", "docs/new.md"), ok)
	equal(t, "rename above", two("docs/new.md", "../new.md"), noent)
	equal(t, "rename from above", two("../new.md", "docs/new.md"), noent)
	equal(t, "unlink", one("path_unlink_file", "docs/new.md"), ok)
	equal(t, "unlink again", one("path_unlink_file", "docs/new.md"), noent)
	equal(t, "rmdir", one("path_remove_directory", "tmp/d"), ok)
	equal(t, "rmdir above", one("path_remove_directory", "../d"), noent)
	equal(t, "set times", func() uint32 {
		in.call("fd_close", in.opened("tmp/t", create, writeRight, 0))
		at, size := in.path("tmp/t")
		return in.call("path_filestat_set_times", root, 1, at, size, 1, 2, 5)
	}(), ok)
	for _, target := range []string{"docs/a.md", "../../../etc/passwd", "/etc/passwd", "\xff"} {
		at, _ := in.path("docs/link" + target)
		equal(t, "symlink to "+target, in.call("path_symlink", at+9, uint64(len(target)), root, at, 9), perm)
		equal(t, "recorded", in.last().Op+" "+in.last().Path+" "+in.last().Decision, "symlink docs/link refused")
		if target == "docs/a.md" {
			equal(t, "link", in.call("path_link", root, 0, at+9, 9, root, at, 9), perm)
			equal(t, "recorded", in.last().Op+" "+in.last().Path+" "+in.last().To, "link docs/link docs/a.md")
		}
	}
	at, size := in.path("../link")
	equal(t, "symlink above", in.call("path_symlink", at, size, root, at, size), perm)
	equal(t, "link above", in.call("path_link", root, 0, at, size, root, at, size), perm)
	equal(t, "readlink above", in.call("path_readlink", root, at, size, dataAt, dataIs, answer), perm)
	at, size = in.path("docs/a.md")
	equal(t, "readlink", in.call("path_readlink", root, at, size, dataAt, dataIs, answer), perm)
}

// TestTopAlwaysOpens holds what wazero's folder of the mount relies on: any
// errno but ENOENT for "." panics.
func TestTopAlwaysOpens(t *testing.T) {
	in := newInstance(t)
	for range 3 {
		f, errno := in.fs.OpenFile(".", expsys.O_RDONLY, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		if folder, _ := f.IsDir(); !folder {
			t.Error("it is no folder")
		}
		f.Close()
	}
}

// TestSymlinkTarget holds that the ledger keeps no text of the guest's memory.
func TestSymlinkTarget(t *testing.T) {
	in := newInstance(t)
	at, _ := in.path("docs/linktarget")
	in.call("path_symlink", at+9, 6, root, at, 9)
	in.module.Memory().WriteString(pathAt, "xxxxxxxxxxxxxxx")
	equal(t, "recorded", in.last().To, "target")
}
