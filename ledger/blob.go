package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// MaxBlob is the largest content of a blob, in bytes.
const MaxBlob = 64 << 20

// NonceSize is the number of random bytes at the head of a blob's file. They
// keep a digest from being guessed back to a likely content.
const NonceSize = 32

// PutBlob makes data a blob in the folder dir, which must exist, and returns
// its digest, SHA-256(nonce || data). The file, nonce || data, is durable when
// PutBlob returns, can be read by its owner only, and is called by the digest's
// hexadecimal digits, the first two of which are a folder. A blob that is there
// already is replaced by the same bytes. Safe for concurrent use.
func PutBlob(dir string, data []byte, nonce [NonceSize]byte) (Hash, error) {
	return putBlob(osDisk{}, dir, data, nonce)
}

func putBlob(d disk, dir string, data []byte, nonce [NonceSize]byte) (Hash, error) {
	if len(data) > MaxBlob {
		return Hash{}, fmt.Errorf("blob of %d bytes: at most %d", len(data), MaxBlob)
	}
	content := make([]byte, 0, NonceSize+len(data))
	content = append(append(content, nonce[:]...), data...)
	h := Sum(content)
	name := blobName(dir, h)
	folder := filepath.Dir(name)
	if err := d.mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return Hash{}, err
	}
	// Even if the folder was there: whoever made it may not have synced it yet.
	if err := d.syncFolder(dir); err != nil {
		return Hash{}, err
	}
	if err := write(d, name, 0o400, bytes.NewReader(content)); err != nil {
		return Hash{}, err
	}
	return h, nil
}

// GetBlob returns the content of a blob, without its nonce. It is an
// [io/fs.ErrNotExist] error if there is none, and an [*IntegrityError] if it
// does not match its name.
func GetBlob(dir string, h Hash) ([]byte, error) {
	name := blobName(dir, h)
	f, err := osDisk{}.openFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, NonceSize+MaxBlob+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(content) < NonceSize || len(content) > NonceSize+MaxBlob || Sum(content) != h {
		return nil, &IntegrityError{File: name, Reason: "content does not match its name: the blob was changed after it was written"}
	}
	return content[NonceSize:], nil
}

// EraseBlobs removes blobs from the folder dir, and whatever was being written
// there when a process died, which may hold the same bytes. What is not there
// counts as removed. They are gone for good when it returns; what the disk still
// has in blocks that are free, this package cannot know. Nobody may put blobs
// there meanwhile.
func EraseBlobs(dir string, blobs ...Hash) error { return eraseBlobs(osDisk{}, dir, blobs) }

func eraseBlobs(d disk, dir string, blobs []Hash) error {
	names, err := unfinishedBlobs(dir)
	if err != nil {
		return err
	}
	for _, h := range blobs {
		names = append(names, blobName(dir, h))
	}
	var folders []string
	for _, name := range names {
		if err := d.remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Even if it was gone: who removed it may not have synced that.
		if folder := filepath.Dir(name); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	for _, folder := range folders {
		if err := d.syncFolder(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// unfinishedBlobs names the files that putBlob had not given their names yet.
func unfinishedBlobs(dir string) (names []string, err error) {
	folders, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		files, err := os.ReadDir(filepath.Join(dir, folder.Name()))
		if err != nil && !errors.Is(err, syscall.ENOTDIR) {
			return nil, err
		}
		for _, f := range files {
			if strings.HasPrefix(f.Name(), tempPrefix) {
				names = append(names, filepath.Join(dir, folder.Name(), f.Name()))
			}
		}
	}
	return names, nil
}

func blobName(dir string, h Hash) string {
	digits := hex.EncodeToString(h[:])
	return filepath.Join(dir, digits[:2], digits[2:])
}

// tempPrefix begins the name of a file that is being written.
const tempPrefix = ".new-"

// write makes a durable file of that name in one step, replacing what is there.
func write(d disk, name string, perm fs.FileMode, content io.Reader) error {
	folder := filepath.Dir(name)
	f, err := d.createTemp(folder, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = d.rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), d.remove(f.Name()))
	}
	return d.syncFolder(folder)
}
