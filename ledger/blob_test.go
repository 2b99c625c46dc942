//go:build linux || darwin

package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

func TestBlob(t *testing.T) {
	dir := t.TempDir()
	nonce := [NonceSize]byte{1, 2, 3}
	for _, data := range [][]byte{nil, []byte("query"), bytes.Repeat([]byte{0}, 1<<20)} {
		h, err := PutBlob(dir, data, nonce)
		if err != nil {
			t.Fatal(err)
		}
		if want := Sum(append(nonce[:], data...)); h != want {
			t.Errorf("digest: got %v, want %v", h, want)
		}
		digits := hex.EncodeToString(h[:])
		name := filepath.Join(dir, digits[:2], digits[2:])
		info, err := os.Stat(name)
		if err != nil || info.Mode() != 0o400 || info.Size() != int64(32+len(data)) {
			t.Errorf("file: got %v, %v", info, err)
		}
		got, err := GetBlob(dir, h)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
		}
		if again, err := PutBlob(dir, data, nonce); again != h || err != nil {
			t.Errorf("again: got %v, %v", again, err)
		}
		if files, _ := os.ReadDir(filepath.Dir(name)); len(files) != 1 {
			t.Errorf("got %d files, want 1", len(files))
		}
	}
}

func TestDamagedBlob(t *testing.T) {
	dir := t.TempDir()
	data := []byte("low entropy")
	h, err := PutBlob(dir, data, [NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	name := blobName(dir, h)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{{}, whole[:31], whole[:len(whole)-1], append(whole[:len(whole):len(whole)], 0)}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x40
		damaged = append(damaged, b)
	}
	for _, b := range damaged {
		if err := errors.Join(os.Remove(name), os.WriteFile(name, b, 0o400)); err != nil {
			t.Fatal(err)
		}
		_, err := GetBlob(dir, h)
		var bad *IntegrityError
		want := filepath.Base(name) + ": content does not match its name: the blob was changed after it was written"
		if !errors.As(err, &bad) || bad.File != name || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := PutBlob(dir, data, [NonceSize]byte{}); err != nil {
		t.Fatal(err)
	}
	if got, err := GetBlob(dir, h); err != nil || !bytes.Equal(got, data) {
		t.Errorf("putting it again does not mend it: %v", err)
	}
	if _, err := GetBlob(dir, Sum(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	if err := errors.Join(os.Remove(name), os.Symlink("/dev/zero", name)); err != nil {
		t.Fatal(err)
	}
	if _, err := GetBlob(dir, h); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("link: got %v", err)
	}
}

func TestBlobIsBounded(t *testing.T) {
	dir := t.TempDir()
	if _, err := PutBlob(dir, make([]byte, MaxBlob+1), [NonceSize]byte{}); err == nil || err.Error() != "blob of 67108865 bytes: at most 67108864" {
		t.Errorf("got %v", err)
	}
	h := Sum([]byte("x"))
	name := blobName(dir, h)
	if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o400), os.Truncate(name, 1<<40)); err != nil {
		t.Skip("no file of 1 TiB with a hole here:", err)
	}
	var bad *IntegrityError
	if _, err := GetBlob(dir, h); !errors.As(err, &bad) {
		t.Errorf("1 TiB: got %v", err)
	}
	if _, err := PutBlob(filepath.Join(dir, "absent"), nil, [NonceSize]byte{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got %v", err)
	}
}

// Whatever call fails, there is no blob or a whole one, and nothing else.
func TestEveryCallOfPutBlobFails(t *testing.T) {
	for failAt := 1; ; failAt++ {
		dir := t.TempDir()
		d := &faultyDisk{failAt: failAt, err: syscall.EIO, short: 3}
		h, err := putBlob(d, dir, []byte("data"), [NonceSize]byte{})
		if d.last == "" {
			if err != nil || failAt < 7 {
				t.Errorf("after %d calls: %v", failAt, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) || h != (Hash{}) {
			t.Errorf("call %d (%s): got %v, %v", failAt, d.last, h, err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, "*", ".*"))
		if len(hidden) != 0 || len(files) != 0 && d.last != "sync folder" {
			t.Errorf("call %d (%s): left %q %q", failAt, d.last, files, hidden)
		}
		if got, err := PutBlob(dir, []byte("data"), [NonceSize]byte{}); err != nil {
			t.Errorf("call %d (%s): then %v, %v", failAt, d.last, got, err)
		}
	}
}

// Of an erased blob nothing is left, nor of what was being written.
func TestEraseBlobs(t *testing.T) {
	dir := t.TempDir()
	var all []Hash
	for i := range byte(4) {
		h, err := PutBlob(dir, []byte("secret"), [NonceSize]byte{i})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	left := filepath.Join(filepath.Dir(blobName(dir, all[3])), tempPrefix+"123")
	if err := errors.Join(os.WriteFile(left, []byte("secret"), 0o600), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, too
		if err := EraseBlobs(dir, all[0], all[1]); err != nil {
			t.Fatal(err)
		}
		for i, h := range all {
			if _, err := GetBlob(dir, h); (i < 2) != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("blob %d: got %v", i, err)
			}
		}
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unfinished: got %v", err)
		}
	}
	if err := EraseBlobs(dir, Sum(nil)); err != nil {
		t.Errorf("never there: got %v", err)
	}
	if err := EraseBlobs(filepath.Join(dir, "absent"), all[2]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got %v", err)
	}
}

// Whatever call fails, it is told, and erasing again finishes it.
func TestEveryCallOfEraseBlobsFails(t *testing.T) {
	for failAt := 1; ; failAt++ {
		dir := t.TempDir()
		h, err := PutBlob(dir, []byte("data"), [NonceSize]byte{})
		if err != nil {
			t.Fatal(err)
		}
		d := &faultyDisk{failAt: failAt, err: syscall.EIO}
		err = eraseBlobs(d, dir, []Hash{h})
		if d.last == "" {
			if err != nil || failAt < 2 {
				t.Errorf("after %d calls: %v", failAt, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d (%s): got %v", failAt, d.last, err)
		}
		if err := EraseBlobs(dir, h); err != nil {
			t.Errorf("call %d (%s): then %v", failAt, d.last, err)
		}
		if _, err := GetBlob(dir, h); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("call %d (%s): got %v", failAt, d.last, err)
		}
	}
}

func TestConcurrentBlobs(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range byte(5) {
				h, err := PutBlob(dir, []byte{i}, [NonceSize]byte{})
				if err != nil {
					t.Error(err)
				} else if _, err := GetBlob(dir, h); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
