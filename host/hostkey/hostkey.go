// Package hostkey keeps the key with which the host of a user signs its ledgers,
// and the list of other hosts whose ledgers that user trusts. Both are files in a
// folder of the user's alone, apart from every root: who copies a root does not
// copy the key. It signs nothing, and decides nothing about a ledger.
//
// # What is promised
//
// The key is made when it is first needed: written under another name, synced, and
// given its own name with link(2), which of several processes at once succeeds for
// one. All of them go on with that one's key, and only once its name is on the
// disk, too. Whatever a crash leaves is cleaned up by the next who meets it. A key
// that is there is never replaced.
//
// What others could read or write, or could have put there, is refused. No error
// holds a secret.
package hostkey

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/ledger"
)

// Name is the name of the key of every host. What tells them apart is its hash.
const Name = "agenthost/host"

// Variable is the environment variable that names the folder.
const Variable = "AGENTHOST_CONFIG"

// Names of the files.
const (
	keyFile  = "host.key"
	hostFile = "trusted_hosts"
)

// maxKey is how long the file of a key may be, in bytes. A key takes 80.
const maxKey = 1 << 10

// secretPrefix begins every secret key.
const secretPrefix = "PRIVATE+KEY"

// An Error says what is wrong with the folder or with what lies in it, and what to
// do about it.
type Error struct {
	What, Hint string
	Err        error // the cause, or nil
}

func (e *Error) Error() string { return e.What }
func (e *Error) Unwrap() error { return e.Err }

// Dir is the folder: the one that [Variable] names, whose value is passed, or else
// agenthost in the user's configuration folder, [os.UserConfigDir]. It need not
// exist. The error is an *[Error].
func Dir(named string) (string, error) {
	if named != "" {
		if !filepath.IsAbs(named) {
			return "", &Error{What: fmt.Sprintf("%s is %q, which is not an absolute path", Variable, named), Hint: "name the folder of the host key from / on"}
		}
		return filepath.Clean(named), nil
	}
	dir, err := os.UserConfigDir()
	if err == nil && !filepath.IsAbs(dir) {
		err = fmt.Errorf("%q is not an absolute path", dir)
	}
	if err != nil {
		return "", &Error{What: "there is no folder for the host key: " + err.Error(), Hint: "set HOME, XDG_CONFIG_HOME or " + Variable + " to a folder of yours", Err: err}
	}
	return filepath.Join(dir, "agenthost"), nil
}

// File is the file of the key in a folder.
func File(dir string) string { return filepath.Join(dir, keyFile) }

// Existing reads the key. Where there is none the error wraps [fs.ErrNotExist];
// else it is an *[Error].
func Existing(dir string) (*ledger.Key, error) {
	folder, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer folder.close()
	text, err := folder.read(keyFile, maxKey)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, folder.noKey("is empty", nil)
	}
	secret := strings.TrimSuffix(string(text), "\n")
	if strings.ContainsAny(secret, " \t\r\n") { // in a key they would count for nothing
		return nil, folder.noKey("does not hold a key", nil)
	}
	key, err := ledger.ParseKey(secret)
	switch {
	case err != nil:
		return nil, folder.noKey("does not hold a key", err)
	case key.Verifier().Name() != Name:
		return nil, folder.noKey(fmt.Sprintf("holds the key %s, which is not a host's (%s)", shortName(key.Verifier()), Name), nil)
	}
	return key, nil
}

// noKey is an error about what the file of the key holds.
func (f folder) noKey(what string, err error) error {
	return &Error{
		What: fmt.Sprintf("%s %s", f.place(keyFile), what),
		Hint: "put the copy you kept in its place; without one move the file away, and another key is made: trust the old verifier key then, so that what it sealed stays verified",
		Err:  err,
	}
}

// Load reads the key, and makes it from random, and the folder, where there is
// none. Several may do so at once. The error is an *[Error].
func Load(dir string, random io.Reader) (*ledger.Key, error) {
	const attempts = 10
	for range attempts {
		key, err := Existing(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return key, err
		}
		if err := makeKey(dir, random); err != nil {
			return nil, makeError("the host key", File(dir), err)
		}
	}
	return nil, &Error{What: fmt.Sprintf("the host key %s goes away as soon as it is made", File(dir)), Hint: "find out what removes it"}
}

// makeError says that a file could not be made.
func makeError(what, path string, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return &Error{
		What: fmt.Sprintf("%s cannot be kept in %s: %v", what, path, err),
		Hint: "make room there and the folder writable, or name another folder with " + Variable,
		Err:  err,
	}
}

// makeKey makes a key, unless there is one by now.
func makeKey(dir string, random io.Reader) error {
	if err := makeFolder(dir); err != nil {
		return err
	}
	folder, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer folder.close()
	key, err := ledger.NewKey(Name, random)
	if err != nil {
		return err
	}
	own := make([]byte, 8)
	if _, err := io.ReadFull(random, own); err != nil {
		return err
	}
	temp := fmt.Sprintf("%s-%x", durable.Temp(keyFile), own)
	if err := durable.Write(folder.dir, temp, []byte(key.Secret()+"\n"), 0o600); err != nil {
		return folder.undone(temp, err)
	}
	err = folder.dir.Link(temp, keyFile)
	// Where the name is taken another process was first; so it was where the file
	// is gone, see settle.
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return folder.undone(temp, err)
	}
	return folder.settle()
}

// undone removes a key that could not be given its name, and returns why.
func (f folder) undone(temp string, err error) error {
	_ = durable.Remove(f.dir, temp) // if it stays, settle removes it
	return unnamed(err)
}
