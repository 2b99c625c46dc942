package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// kept are the names in a control plane that turns never write, whatever they
// were granted.
var kept = []string{"FORMAT", "control", "ledger", "output", "packages_store", "planes", "registries"}

// target returns the folder a publication goes to and its name there. That a
// name may be written was judged before; here only what is agenthost's own is
// refused once more.
func (s *Session) target(path string) (*beneath.Dir, string, error) {
	return s.root.target(s.ID, path)
}

func (r *Root) target(id ID, path string) (*beneath.Dir, string, error) {
	if err := beneath.CheckName(path); err != nil || path == "." {
		return nil, "", fmt.Errorf("publishing %q: %w", path, errors.Join(err, beneath.ErrName))
	}
	if strings.HasPrefix(path, "output/"+string(id)+"/") {
		return r.Folder(), path, nil
	}
	first, _, _ := strings.Cut(path, "/")
	inside := r.inside
	if first == "output" || first == DefaultRoot || r.same && slices.Contains(kept, first) ||
		inside != "" && (path == inside || strings.HasPrefix(path, inside+"/")) {
		return nil, "", fmt.Errorf("publishing %q: the name is agenthost's own", path)
	}
	return r.workspace, path, nil
}

// A sight is what was found at a target.
type sight struct {
	digest *ledger.Hash // nil: absent
	info   beneath.Info // of what is there
	bad    string       // why nothing may be put there
	near   string       // the innermost folder on the way that exists
	mount  uint64       // the mount that is on
}

// look examines a target: it may be absent, beneath folders that can be made,
// or a regular file with one name; its content is hashed.
func look(ctx context.Context, dir *beneath.Dir, name string) (sight, error) {
	var v sight
	for v.near = durable.Parent(name); ; v.near = durable.Parent(v.near) {
		info, err := dir.Stat(v.near)
		if err == nil {
			if !info.Mode.IsDir() {
				v.bad = beneath.KindOf(info.Mode) + " is in the way: " + v.near
				return v, nil
			}
			if v.mount, err = dir.Mount(v.near); err != nil {
				return v, err
			}
			break
		}
		switch {
		case gone(err): // what is in the way is met closer to the top
		default:
			return v, err
		}
	}
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v, nil
	case errors.Is(err, beneath.ErrLink):
		v.bad = "a symbolic link"
		return v, nil
	case err != nil:
		if info, e := dir.Stat(name); e == nil && !info.Mode.IsRegular() {
			v.bad = beneath.KindOf(info.Mode)
			return v, nil
		}
		return v, err
	}
	defer f.Close()
	if v.info, err = beneath.StatFile(f); err != nil {
		return v, err
	}
	if !v.info.Mode.IsRegular() {
		v.bad = beneath.KindOf(v.info.Mode)
		return v, nil
	}
	if v.info.Nlink != 1 {
		v.bad = fmt.Sprintf("a file with %d names (hard links)", v.info.Nlink)
		return v, nil
	}
	mount, err := dir.Mount(name)
	if err != nil {
		return v, err
	}
	if mount != v.mount {
		v.bad = "a mount point"
		return v, nil
	}
	h, err := digest(ctx, f)
	v.digest = &h
	return v, err
}

// digest hashes an open file from where it stands.
func digest(ctx context.Context, f *os.File) (h ledger.Hash, err error) {
	sum := sha256.New()
	_, err = io.Copy(sum, reader{ctx, f})
	return ledger.Hash(sum.Sum(nil)), err
}

// reader ends with the context's error when that is done.
type reader struct {
	ctx context.Context
	f   *os.File
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.Read(b)
}

// same compares digests; nil is absence.
func same(a, b *ledger.Hash) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// conflict says why a publication cannot replace what was seen, "" if it can.
func conflict(p record.Publication, v sight) string {
	switch {
	case v.bad != "":
		return v.bad
	case same(v.digest, p.Base):
		return ""
	case v.digest == nil:
		return "it was removed since the turn first saw it"
	case p.Base == nil:
		return "it was made since the turn found it absent"
	}
	return "it was changed since the turn first saw it"
}
