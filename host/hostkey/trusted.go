package hostkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/ledger"
)

// maxHosts is how long the list may be, in bytes.
const maxHosts = 64 << 10

// lockFile is what a process that changes the list holds the lock of.
const lockFile = "trusted_hosts.lock"

// ErrOwn says that a key is this host's own, which is always trusted.
var ErrOwn = errors.New("it is the key of this host itself, which is always trusted here")

// ErrTwin says that a key has the name and the hash of another one that is trusted.
var ErrTwin = errors.New("another key has that name and hash")

// Trusted returns the verifier keys of the hosts that are trusted: first this
// host's own, if it has one, then those that [Trust] added, in that order, each
// once. No folder is an empty list. The error is an *[Error].
func Trusted(dir string) ([]ledger.Verifier, error) {
	var list []ledger.Verifier
	own, err := Existing(dir)
	switch {
	case err == nil:
		list = append(list, own.Verifier())
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	folder, err := openFolder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer folder.close()
	lines, err := folder.hosts()
	if err != nil {
		return nil, err
	}
	for i, l := range lines {
		if l.host.IsZero() {
			continue
		}
		added, err := add(list, l.host)
		if err != nil {
			return nil, folder.lineError(i, err)
		}
		list = added
	}
	return list, nil
}

// add appends a key to a list that does not hold it. Two keys that are called the
// same and are not the same are refused: nobody could tell which one signed.
func add(list []ledger.Verifier, v ledger.Verifier) ([]ledger.Verifier, error) {
	for _, other := range list {
		if other.Equal(v) {
			return list, nil
		}
		if shortName(other) == shortName(v) {
			return nil, fmt.Errorf("%s is the name and hash of another key, %s", shortName(v), other)
		}
	}
	return append(list, v), nil
}

// Trust adds the verifier key of another host to the list, and makes the list, and
// the folder, where there is none. It reports false if the key is trusted already.
// This host's own key is [ErrOwn]; else the error is an *[Error], which wraps
// [ErrTwin] where it is that. Processes that
// change the list wait for one another, until ctx is done.
func Trust(ctx context.Context, dir, vkey string) (added bool, err error) {
	v, err := Parse(vkey)
	if err != nil {
		return false, err
	}
	err = change(ctx, dir, func(own []ledger.Verifier, lines []line) ([]line, error) {
		list := own
		for _, l := range lines {
			if !l.host.IsZero() {
				list = append(list, l.host)
			}
		}
		longer, err := add(list, v)
		switch {
		case err != nil:
			return nil, &Error{What: err.Error(), Hint: "one of the two was made to be taken for the other: ask both hosts, and trust neither before", Err: ErrTwin}
		case slices.ContainsFunc(own, func(o ledger.Verifier) bool { return o.Equal(v) }):
			return nil, ErrOwn
		case len(longer) == len(list):
			return lines, nil
		}
		added = true
		return append(lines, line{text: v.String(), host: v}), nil
	})
	return added && err == nil, err
}

// Distrust removes from the list a verifier key, or the one that is called so by
// its first two parts, NAME+HASH, and returns it; the zero Verifier if it is not
// in the list. Errors, and who waits for whom, are as with [Trust].
func Distrust(ctx context.Context, dir, vkey string) (removed ledger.Verifier, err error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return removed, nil
	}
	named := func(v ledger.Verifier) bool { return v.String() == vkey || shortName(v) == vkey }
	err = change(ctx, dir, func(own []ledger.Verifier, lines []line) ([]line, error) {
		if slices.ContainsFunc(own, named) {
			return nil, ErrOwn
		}
		return slices.DeleteFunc(lines, func(l line) bool {
			if l.host.IsZero() || !named(l.host) {
				return false
			}
			removed = l.host
			return true
		}), nil
	})
	if err != nil {
		return ledger.Verifier{}, err
	}
	return removed, nil
}

// change replaces the list by what edit makes of it, unless that is as long as
// what was there. Own is this host's key, if it has one.
func change(ctx context.Context, dir string, edit func(own []ledger.Verifier, lines []line) ([]line, error)) error {
	if err := makeFolder(dir); err != nil {
		return makeError("the list of trusted hosts", dir, err)
	}
	folder, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer folder.close()
	lock, err := folder.dir.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return makeError("the list of trusted hosts", folder.place(hostFile), unnamed(err))
	}
	defer lock.Close()
	if err := beneath.Lock(ctx, lock); err != nil {
		return err
	}
	var own []ledger.Verifier
	key, err := Existing(dir)
	switch {
	case err == nil:
		own = append(own, key.Verifier())
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	lines, err := folder.hosts()
	if err != nil {
		return err
	}
	before := len(lines)
	lines, err = edit(own, lines)
	if err != nil || len(lines) == before {
		return err
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.text + "\n")
	}
	if text.Len() > maxHosts {
		return &Error{What: fmt.Sprintf("%s would have more than %d bytes", folder.place(hostFile), maxHosts), Hint: "remove keys that are of no use any more"}
	}
	if err := durable.Replace(folder.dir, hostFile, []byte(text.String()), 0o600); err != nil {
		return makeError("the list of trusted hosts", folder.place(hostFile), unnamed(err))
	}
	return nil
}

// A line is one of the list: a key, or none.
type line struct {
	text string // as it stands there
	host ledger.Verifier
}

// hosts reads the list; none is an empty one.
func (f folder) hosts() ([]line, error) {
	text, err := f.read(hostFile, maxHosts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lines []line
	for i, text := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		l := line{text: text}
		said, _, _ := strings.Cut(text, "#")
		if said = strings.TrimSpace(said); said != "" {
			if l.host, err = parseHost(said); err != nil {
				return nil, f.lineError(i, err)
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// lineError is an error about line i of the list, counted from 0.
func (f folder) lineError(i int, err error) error {
	return &Error{
		What: fmt.Sprintf("%s line %d: %v", f.place(hostFile), i+1, err),
		Hint: "a line is a verifier key, as agenthost ledger key prints it, or begins with #: correct it or remove it",
		Err:  err,
	}
}

// Parse reads the verifier key of a host. The error is an *[Error].
func Parse(vkey string) (ledger.Verifier, error) {
	v, err := parseHost(vkey)
	if err != nil {
		return v, &Error{What: err.Error(), Hint: "give what agenthost ledger key prints on that host", Err: err}
	}
	return v, nil
}

// parseHost reads the verifier key of a host.
func parseHost(text string) (ledger.Verifier, error) {
	if strings.Contains(text, secretPrefix) {
		return ledger.Verifier{}, errors.New("it is a secret key, which nobody but its host should ever have")
	}
	v, err := ledger.ParseVerifier(text)
	if err != nil {
		return v, err
	}
	if v.Name() != Name {
		return ledger.Verifier{}, fmt.Errorf("%s is not the key of a host: those are called %s", shortName(v), Name)
	}
	return v, nil
}

// shortName is what people know a key by: NAME+HASH.
func shortName(v ledger.Verifier) string {
	parts := strings.SplitN(v.String(), "+", 3)
	return strings.Join(parts[:min(2, len(parts))], "+")
}
