//go:build linux || darwin

package ledger

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// faultyDisk fails its n-th call. Syncs are counted but not done, which keeps
// the tests quick.
type faultyDisk struct {
	osDisk
	calls  int
	failAt int   // from 1; 0 fails nothing
	err    error // with which it fails
	short  int   // bytes that a failing write still writes
	last   string
	only   string // count calls of this name only, if set
}

func (d *faultyDisk) call(name string) error {
	if d.only != "" && d.only != name {
		return nil
	}
	d.calls++
	if d.calls == d.failAt {
		d.last = name
		return d.err
	}
	return nil
}

func (d *faultyDisk) openFile(name string, flag int, perm fs.FileMode) (file, error) {
	if err := d.call("open"); err != nil {
		return nil, err
	}
	f, err := d.osDisk.openFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f.(*os.File), d}, nil
}

func (d *faultyDisk) createTemp(dir, pattern string) (file, error) {
	if err := d.call("temp"); err != nil {
		return nil, err
	}
	f, err := d.osDisk.createTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f.(*os.File), d}, nil
}

func (d *faultyDisk) mkdir(name string, perm fs.FileMode) error {
	if err := d.call("mkdir"); err != nil {
		return err
	}
	return d.osDisk.mkdir(name, perm)
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.call("rename"); err != nil {
		return err
	}
	return d.osDisk.rename(from, to)
}

func (d *faultyDisk) syncFolder(string) error { return d.call("sync folder") }

type faultyFile struct {
	*os.File
	d *faultyDisk
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if err := f.d.call("write"); err != nil {
		n, _ := f.File.Write(b[:min(f.d.short, len(b))])
		if errors.Is(err, errShort) {
			return n, nil
		}
		return n, err
	}
	return f.File.Write(b)
}

// ReadFrom keeps io.Copy from going around Write.
func (f *faultyFile) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{f}, r)
}

func (f *faultyFile) Sync() error { return f.d.call("sync") }

func (f *faultyFile) Truncate(size int64) error {
	if err := f.d.call("truncate"); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// errShort makes a write stop early without an error.
var errShort = errors.New("short")

func TestFirstFailurePoisons(t *testing.T) {
	for _, c := range []struct {
		name   string
		call   string
		nth    int
		short  int
		err    error
		cause  error
		stands int // whole entries in the file afterwards
	}{
		{"write fails", "write", 4, 0, syscall.EIO, syscall.EIO, 3},
		{"disk full in the middle of a line", "write", 4, 100, syscall.ENOSPC, syscall.ENOSPC, 3},
		{"short write without an error", "write", 4, 17, errShort, io.ErrShortWrite, 3},
		{"all but the newline", "write", 4, 267, syscall.ENOSPC, syscall.ENOSPC, 3},
		{"sync of a durable entry fails", "sync", 2, 0, syscall.EIO, syscall.EIO, 5}, // the first is Create's
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &faultyDisk{only: c.call, failAt: c.nth, err: c.err, short: c.short}
			o := options()
			o.faults = d
			l := mustCreate(t, o)
			acked := 0
			var failed error
			for _, kind := range []string{"note", "note", "note", "note", "end"} {
				if _, err := l.Append(1, &remark{kind, "x"}); err != nil {
					failed = err
					break
				}
				acked++
			}
			want := l.path + ": the ledger takes no more entries after a failed write: " + c.cause.Error()
			if failed == nil || failed.Error() != want || !errors.Is(failed, ErrPoisoned) || !errors.Is(failed, c.cause) {
				t.Fatalf("got %v, want %s", failed, want)
			}
			// Nothing is tried again, although the disk is well.
			head, calls := l.Head(), d.calls
			if _, err := l.Append(1, &remark{"note", "x"}); err != failed {
				t.Errorf("append: got %v, want %v", err, failed)
			}
			if err := l.Sync(); err != failed {
				t.Errorf("sync: got %v, want %v", err, failed)
			}
			for _, err := range l.Since(Entry{}) {
				if err != failed {
					t.Errorf("since: got %v, want %v", err, failed)
				}
			}
			if l.Head() != head || head.Size != uint64(acked) || d.calls != calls {
				t.Errorf("head %d after %d entries, %d calls more", head.Size, acked, d.calls-calls)
			}
			if err := l.Close(); err != nil || d.calls != calls {
				t.Errorf("close: %v, %d calls more", err, d.calls-calls)
			}
			again, err := Open(l.path, options())
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if got := int(again.Head().Size); got != c.stands {
				t.Errorf("opened with %d entries, want %d", got, c.stands)
			}
			if torn := c.short > 0; torn != (len(again.Recovered()) == 1) || torn && again.Recovered()[0].Length != int64(c.short) {
				t.Errorf("recovered %+v, want %d bytes", again.Recovered(), c.short)
			}
			mustAppend(t, again, "end", "goes on")
		})
	}
}

// Whatever call fails while a ledger is made or opened, a later Open finds it
// whole, and the debris is neither lost nor told twice.
func TestEveryCallOfCreateAndOpenFails(t *testing.T) {
	for failAt := 1; ; failAt++ {
		d := &faultyDisk{failAt: failAt, err: syscall.EIO}
		o := options()
		o.faults = d
		path := filepath.Join(t.TempDir(), "exec.jsonl")
		l, err := Create(path, o)
		if d.last == "" {
			l.Close()
			break
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d (%s): got %v", failAt, d.last, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("call %d (%s): a file is left", failAt, d.last)
		}
	}

	for failAt := 1; ; failAt++ {
		l := mustCreate(t, options())
		mustAppend(t, l, "end", "x")
		l.Close()
		appendBytes(t, l.path, `{"v":1,"seq":1,"debris`)
		d := &faultyDisk{failAt: failAt, err: syscall.ENOSPC, short: 5}
		o := options()
		o.faults = d
		opened, err := Open(l.path, o)
		if d.last == "" {
			if err != nil || failAt < 8 {
				t.Fatalf("after %d calls: %v", failAt, err)
			}
			opened.Close()
			break
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("call %d (%s): got %v", failAt, d.last, err)
		}
		opened, err = Open(l.path, options())
		if err != nil {
			t.Fatalf("call %d (%s): then %v", failAt, d.last, err)
		}
		want := []Recovery{{"exec.jsonl.torn-267", 267, 22, Sum([]byte(`{"v":1,"seq":1,"debris`))}}
		if got := opened.Recovered(); len(got) != 1 || got[0] != want[0] {
			t.Errorf("call %d (%s): recovered %+v, want %+v", failAt, d.last, got, want)
		}
		opened.Close()
		names, err := filepath.Glob(filepath.Join(filepath.Dir(l.path), "*"))
		if hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(l.path), ".*")); err != nil || len(names)+len(hidden) != 2 {
			t.Errorf("call %d (%s): files %q %q, %v", failAt, d.last, names, hidden, err)
		}
	}
}

// Whatever call fails while a ledger is written, and however: what was
// acknowledged is there when it is opened again, and nothing half of a commit.
func TestEveryCallOfAWriterFails(t *testing.T) {
	failures, name := 0, ""
	for _, c := range []struct {
		err   error
		short int
	}{{syscall.EIO, 0}, {syscall.ENOSPC, 0}, {syscall.ENOSPC, 130}, {errShort, 1}, {errShort, 200}} {
		for failAt := 1; ; failAt++ {
			d := &faultyDisk{failAt: failAt, err: c.err, short: c.short}
			o := crashing(t)
			o.faults = d
			path := filepath.Join(t.TempDir(), "exec.jsonl")
			l, err := Create(path, o)
			if err == nil {
				acked := uint64(0)
				for i := 0; err == nil && i < 8; i++ {
					switch kind := []string{"key", "note", "note", "end", "note", "stop", "note", "end"}[i]; kind {
					case "key", "end":
						_, err = l.Commit(1, &remark{kind, "x"})
					default:
						_, err = l.Append(1, &remark{kind, "x"})
						if kind == "note" && err == nil {
							continue
						}
					}
					if err == nil {
						acked = l.Head().Size
					}
				}
				name = d.last
				if d.last != "" && !errors.Is(err, ErrPoisoned) {
					t.Fatalf("call %d (%s): %v", failAt, d.last, err)
				}
				calls := d.calls
				if closed := l.Close(); closed != nil || d.last != "" && d.calls != calls {
					t.Fatalf("call %d (%s): close: %v, %d calls more", failAt, d.last, closed, d.calls-calls)
				}
				again, err := Open(path, crashing(t))
				if err != nil || again.Head().Size < acked || again.Head().Size > acked+4 {
					t.Fatalf("call %d (%s): opened: %v; %d were acknowledged", failAt, d.last, err, acked)
				}
				if last, sealed := again.last.Kind, acked > 0; sealed && committed(again.last) {
					t.Fatalf("call %d (%s): it ends with %s and no seal", failAt, d.last, last)
				}
				again.Close()
			}
			if d.last == "" {
				break
			}
			failures++
		}
	}
	if failures < 50 {
		t.Errorf("only %d failures, the last of %s", failures, name)
	}
}

func appendBytes(t testing.TB, path, s string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(s)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecoveryIsToldUntilItIsNoted(t *testing.T) {
	l := mustCreate(t, options())
	mustAppend(t, l, "end", "x")
	l.Close()
	debris := []string{`{"v":1`, `{"v":1,"seq"`, `{"v":1`}
	path := l.path
	for i, s := range debris {
		appendBytes(t, path, s)
		for range 2 {
			l, err := Open(path, options())
			if err != nil {
				t.Fatal(err)
			}
			got := l.Recovered()
			if len(got) != min(i+1, 2) {
				t.Fatalf("debris %d: got %+v", i, got)
			}
			l.Close()
		}
	}
	for name, want := range map[string]string{"exec.jsonl.torn-267": debris[0], "exec.jsonl.torn-267-2": debris[1]} {
		full := filepath.Join(filepath.Dir(path), name)
		got, err := os.ReadFile(full)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
		if info, err := os.Stat(full); err != nil || info.Mode() != 0o400 {
			t.Errorf("%s: mode %v, want 0400", name, info.Mode())
		}
	}
	l, err := Open(path, options())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "end", "noted")
	l = reopen(t, l, options())
	if got := l.Recovered(); got != nil {
		t.Errorf("after it was noted: got %+v", got)
	}
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here:", err)
	}
	defer full.Close()
	l := mustCreate(t, options())
	l.f = &elsewhere{l.f, full}
	if _, err := l.Append(1, &remark{"note", "x"}); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

// elsewhere writes to another file.
type elsewhere struct {
	file
	w io.Writer
}

func (f *elsewhere) Write(b []byte) (int, error) { return f.w.Write(b) }

func TestDamageIsNotTakenForDebris(t *testing.T) {
	// Each history ends in damage that no crash of a writer leaves.
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		want   string
	}{
		{"a line was changed", func(b []byte) []byte { b[400] ^= 1; return b }, "line 2 (seq 1, byte 268): hash does not match: the line was changed after it was written"},
		{"garbage line at the end", func(b []byte) []byte { return append(b, "garbage\n"...) }, "line 61 (seq 60, byte 16179): it is not an entry of a ledger"},
		{"an empty line", func(b []byte) []byte { return append(b, '\n') }, "line 61 (seq 60, byte 16179): it is not an entry of a ledger"},
		{"a later version", func(b []byte) []byte { return append(b, "{\"v\":2,}\n"...) }, "line 61 (seq 60, byte 16179): it is of another version of the format"},
		{
			"zeros within what was durable", func(b []byte) []byte { clear(b[512:1024]); return b },
			"line 2 (seq 1, byte 268): sectors of zeros before seq 29, which was on disk: the file was damaged",
		},
		{"newline changed", func(b []byte) []byte { b[len(b)-1] = 'x'; return b }, "line 60 (seq 59, byte 15910): the newline behind the entry was changed"},
		{"endless line", func(b []byte) []byte { return append(b, strings.Repeat("x", 10<<20)...) }, "line 61 (seq 60, byte 16179): the line is longer than an entry may be"},
		{"long line", func(b []byte) []byte { return append(b, strings.Repeat("x", 3<<20)+"\n"...) }, "line 61 (seq 60, byte 16179): the line is longer than an entry may be"},
		{"first line removed", func(b []byte) []byte { return b[268:] }, "line 1 (seq 0, byte 0): seq is 1, want 0: a line was removed, repeated or moved"},
	} {
		l := mustCreate(t, options())
		for i := range 60 {
			kind := "note"
			if i%30 == 29 {
				kind = "end"
			}
			mustAppend(t, l, kind, "x")
		}
		l.Close()
		b, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.path, c.damage(b), 0o600); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(l.path)
		_, err = Open(l.path, options())
		var bad *IntegrityError
		if !errors.As(err, &bad) || bad.Torn || err.Error() != "exec.jsonl "+c.want {
			t.Errorf("%s: got %v\nwant exec.jsonl %s", c.name, err, c.want)
		}
		if _, again := Verify(l.path, options()); again == nil || err == nil || again.Error() != err.Error() {
			t.Errorf("%s: Verify says %v", c.name, again)
		}
		if after, _ := os.ReadFile(l.path); string(after) != string(before) {
			t.Errorf("%s: Open changed the file", c.name)
		}
	}
}

func TestZerosAtTheEndAreDebris(t *testing.T) {
	for _, n := range []int{1, 250, 511, 512, 5000, 10 << 20} {
		for _, durable := range []func(Entry) bool{isEnd, nil} {
			l := mustCreate(t, options())
			mustAppend(t, l, "end", "x")
			l.Close()
			appendBytes(t, l.path, strings.Repeat("\x00", n))
			o := options()
			o.Durable = durable
			report, err := Verify(l.path, o)
			if err != nil || report.Torn == nil || report.Torn.Offset != 267 || report.Entries != 1 {
				t.Errorf("%d zeros: got %+v, %v", n, report, err)
			}
			l, err = Open(l.path, o)
			if err != nil || len(l.Recovered()) != 1 || l.Recovered()[0].Length != int64(n) {
				t.Fatalf("%d zeros: got %v", n, err)
			}
			l.Close()
		}
	}
}
