// Package session keeps sessions on disk: their ids and folders, the staging of
// one turn, the commit that publishes what a turn wrote, and the recovery from
// a crash at any point of it. It knows nothing of guests and does not judge
// whether a name may be written; it appends only those entries that say what
// became of a session or a turn.
//
// # Places
//
// The workspace is what a guest sees as "/". The root is what agenthost keeps:
//
//	FORMAT                      what the folder is; see below
//	.gitignore                  "*", unless the root is a control plane
//	planes/                     0700
//	planes/publish.lock         held while a turn is published
//	planes/pending/SID          a commit whose renames are not finished
//	planes/PLANE/sessions/SID/  one session; .new-SID while it is made or removed
//	    ledger/                 exec.jsonl, evidence.jsonl, blobs/; locked by who works on it
//	    holder                  who that is, for people
//	    staging/TURN/           workspace/, out/, tmp/, publish/; gone when the turn is over
//	    blocked/TURN/           workspace/, out/ of a turn that was not published
//	output/SID/                 what a session published under out/
//
// FORMAT holds one line. "agenthost root v1" makes a folder a control plane:
// workspace and root are that folder; [MakeControl] writes it. "agenthost folder
// v1" marks the root that belongs to a workspace which is none, .agenthost/ by
// default; it is made with the first session. A folder that is neither and is not
// empty is never used as a root, and a FORMAT of a later version is refused.
//
// A root belongs to one user: one owned by another, or writable by everybody,
// is refused, because the policy in it would rule this user's runs.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/register"
	"github.com/agenthost/agenthost/ledger"
)

// Contents of FORMAT.
const (
	FormatControl = "agenthost root v1\n"   // a control plane
	FormatFolder  = "agenthost folder v1\n" // the root of a workspace
)

// DefaultRoot is the root in a workspace that is no control plane.
const DefaultRoot = ".agenthost"

const (
	formatFile  = "FORMAT"
	ignoreFile  = ".gitignore"
	publishLock = "planes/publish.lock"
	pendingDir  = "planes/pending"
)

// Planes are the planes a session can run in.
func Planes() []string { return []string{"ho1", "ho2", "ho3"} }

var (
	// ErrExists says that there is a session of that id.
	ErrExists = errors.New("there is a session of this id already")
	// ErrInUse says that a living process works on the session.
	ErrInUse = errors.New("another process works on this session")
	// ErrClosed says that a session was closed and takes no more turns.
	ErrClosed = errors.New("the session is closed")
	// ErrNotFound says that there is no such session.
	ErrNotFound = errors.New("no such session")
)

// Options say where sessions are kept and what they are made with.
type Options struct {
	// Workspace is the folder a guest sees as "/".
	Workspace string
	// Root is the folder agenthost keeps; "" is the workspace if that is a
	// control plane, else .agenthost in it.
	Root string
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
	// Random is where ids and the nonces of blobs come from; nil is
	// [rand.Reader].
	Random io.Reader
	// Key is the host's key, which signs that of each process that works on a
	// session; it is called when the first session is opened. Nil is an error
	// then.
	Key func() (*ledger.Key, error)
	// Hosts are those whose sessions are continued: this host and others that are
	// trusted. Nil is Key's alone.
	Hosts func() ([]ledger.Verifier, error)
	// Observe, if set, sees each entry after it was appended to a session's
	// ledgers. It must not call the session.
	Observe func(ledger.Entry)
	// Step, if set, is called with the name of each step of a commit, or of a
	// change of a control plane, before the step and once after the last. It is
	// there for tests of recovery, which end the process in it.
	Step func(step string)
}

// A Root is the root and the workspace of sessions. It is safe for concurrent
// use.
type Root struct {
	opts      Options
	workspace *beneath.Dir
	path      string // of the root, absolute
	// workspacePath is the workspace's absolute path without links.
	workspacePath string
	control       bool   // the root is a control plane
	same          bool   // the root is the workspace
	inside        string // the root's name in the workspace, "" if it lies elsewhere

	mu        sync.Mutex
	dir       *beneath.Dir                  // the root; nil until there is one
	registers map[string]*register.Register // by plane, of those that were asked
}

// OpenRoot opens a workspace and the root that belongs to it. Nothing is
// created; a root that is not there yet is made by [Root.Ensure].
func OpenRoot(o Options) (*Root, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	workspace, err := filepath.Abs(o.Workspace)
	if err != nil {
		return nil, fmt.Errorf("workspace %s: %w", o.Workspace, err)
	}
	r := &Root{opts: o, workspacePath: workspace}
	if real, err := filepath.EvalSymlinks(workspace); err == nil {
		r.workspacePath = real
	}
	if r.workspace, err = beneath.Open(workspace); err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	if err := r.choose(workspace); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// choose finds the root.
func (r *Root) choose(workspace string) error {
	format, err := readFormat(r.workspace)
	if err != nil {
		return fmt.Errorf("workspace %s: %w", workspace, err)
	}
	if format == FormatFolder {
		return fmt.Errorf("%s is agenthost's own folder, not a workspace", workspace)
	}
	if r.opts.Root == "" && format != FormatControl {
		if lostFormat(r.workspace) {
			return fmt.Errorf("%s holds what a control plane keeps, and no FORMAT that says it is one: agenthost control init completes one that was cut short; else put back the line %q", workspace, strings.TrimSuffix(FormatControl, "\n"))
		}
		r.path, r.inside = filepath.Join(workspace, DefaultRoot), DefaultRoot
		dir, err := r.workspace.Sub(DefaultRoot)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, beneath.ErrLink):
			return fmt.Errorf("%s is a symbolic link; name the folder it points to as the root", r.path)
		case err != nil:
			return fmt.Errorf("root %s: %w", r.path, err)
		}
		return r.take(dir)
	}
	r.path = workspace
	if r.opts.Root != "" {
		if r.path, err = filepath.Abs(r.opts.Root); err != nil {
			return fmt.Errorf("root %s: %w", r.opts.Root, err)
		}
	}
	r.inside = within(workspace, r.path)
	dir, err := beneath.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return r.take(dir)
}

// lostFormat reports whether a folder without FORMAT was a control plane, or was
// to be one: as a mere workspace it would be governed by none of what is in it.
func lostFormat(dir *beneath.Dir) bool {
	for _, name := range []string{"control/token", "ledger/governance.jsonl"} {
		if _, err := dir.Stat(name); err != nil {
			return false
		}
	}
	return true
}

// take makes dir the root if it can be one.
func (r *Root) take(dir *beneath.Dir) error {
	err := r.judge(dir)
	if err != nil {
		dir.Close()
		return err
	}
	r.dir = dir
	return nil
}

// settled is the format of a folder that seems to have none: another process may
// be making it a root at this moment. Without one it must hold nothing but what
// a crash then left.
func (r *Root) settled(dir *beneath.Dir) (string, error) {
	lock, err := lockFolder(dir)
	if err != nil {
		return "", fmt.Errorf("root %s: %w", r.path, err)
	}
	defer lock.Close()
	format, err := readFormat(dir)
	if err != nil || format != "" {
		return format, err
	}
	entries, err := dir.ReadDir(".")
	if err != nil {
		return "", fmt.Errorf("root %s: %w", r.path, err)
	}
	for _, e := range entries {
		if r.same || !slices.Contains([]string{ignoreFile, durable.Prefix + ignoreFile, durable.Prefix + formatFile}, e.Name) {
			return "", fmt.Errorf("%s is not a root of agenthost: it has no file FORMAT and is not empty", r.path)
		}
	}
	return "", nil
}

// lockFolder waits for the lock under which a folder is made a root.
func lockFolder(dir *beneath.Dir) (*os.File, error) {
	f, err := dir.OpenFile(".", os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := beneath.Lock(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (r *Root) judge(dir *beneath.Dir) error {
	info, err := dir.Stat(".")
	if err != nil {
		return fmt.Errorf("root %s: %w", r.path, err)
	}
	home, err := r.workspace.Stat(".")
	if err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	r.same = info.Dev == home.Dev && info.Ino == home.Ino
	format, err := readFormat(dir)
	if err != nil {
		return fmt.Errorf("root %s: %w", r.path, err)
	}
	if format == "" {
		if format, err = r.settled(dir); err != nil {
			return err
		}
	}
	r.control = format == FormatControl
	if r.same && !r.control {
		return fmt.Errorf("%s cannot be workspace and root: it is not a control plane", r.path)
	}
	if name := within(r.path, r.workspacePath); name != "" && name != "." {
		first, _, _ := strings.Cut(name, "/")
		if !r.control || slices.Contains(kept, first) {
			return fmt.Errorf("workspace %s lies in what agenthost keeps for itself in %s", r.workspacePath, r.path)
		}
	}
	if err := owned(info); err != nil {
		return fmt.Errorf("root %s %w", r.path, err)
	}
	return nil
}

// readFormat returns the content of a folder's FORMAT if it is one this program
// knows, and "" if there is none or it speaks of something else.
func readFormat(dir *beneath.Dir) (string, error) {
	b, err := durable.Read(dir, formatFile, 256)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, durable.ErrNotPlain) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	line := string(b)
	for _, known := range []string{FormatControl, FormatFolder} {
		if line == known {
			return known, nil
		}
		if strings.HasPrefix(line, known[:len(known)-len("1\n")]) {
			return "", fmt.Errorf("needs a newer agenthost: FORMAT says %.80q", strings.TrimSuffix(line, "\n"))
		}
	}
	return "", nil
}

// within returns the name by which path is reached in the folder top, "." for
// top itself, "" if it lies elsewhere. Path may not exist yet.
func within(top, path string) string {
	real, err := filepath.EvalSymlinks(top)
	if err != nil {
		real = top
	}
	base := ""
	for {
		if p, err := filepath.EvalSymlinks(path); err == nil {
			path = p
			break
		}
		parent := filepath.Dir(path)
		if parent == path {
			break
		}
		base, path = filepath.Join(filepath.Base(path), base), parent
	}
	rel, err := filepath.Rel(real, filepath.Join(path, base))
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return ""
	}
	return filepath.ToSlash(rel)
}

// Close closes the folders. Sessions must be closed before.
func (r *Root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.workspace.Close()
	for _, reg := range r.registers {
		err = errors.Join(err, reg.Close())
	}
	r.registers = nil
	if r.dir != nil {
		err = errors.Join(err, r.dir.Close())
		r.dir = nil
	}
	return err
}

// Options are those the root was opened with, the defaults filled in.
func (r *Root) Options() Options { return r.opts }

// Workspace is the folder a guest sees as "/". It belongs to the root.
func (r *Root) Workspace() *beneath.Dir { return r.workspace }

// Path is the absolute path of the root, for people and for programs that take
// a path; it may not exist yet.
func (r *Root) Path() string { return r.path }

// Control reports whether the root is a control plane.
func (r *Root) Control() bool { return r.control }

// Inside returns the name of the root in the workspace ("." if they are one
// folder), and whether it lies there at all.
func (r *Root) Inside() (name string, ok bool) { return r.inside, r.inside != "" }

// home says which workspace the root works for: its own place in it, which holds
// when both are moved, or the workspace's path if the root lies elsewhere.
func (r *Root) home() string {
	if r.inside != "" {
		return r.inside
	}
	return r.workspacePath
}

// Folder is the root, or nil if there is none yet. It belongs to the Root.
func (r *Root) Folder() *beneath.Dir {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dir
}

// Ensure makes the root if there is none, and the folders that every session
// needs, and refuses filesystems on which names cannot be told apart by their
// bytes. It is called by [Root.Create] and [Root.Open].
func (r *Root) Ensure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir == nil {
		if err := r.make(); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		name string
		dir  *beneath.Dir
	}{{"workspace", r.workspace}, {"root " + r.path, r.dir}} {
		if err := fit(d.dir); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	lock, err := lockFolder(r.dir)
	if err != nil {
		return r.unwritable(err)
	}
	defer lock.Close()
	format := FormatFolder
	if r.control {
		format = FormatControl
	} else if err := durable.Put(r.dir, ignoreFile, []byte("*\n")); err != nil {
		return r.unwritable(err)
	}
	if err := durable.Put(r.dir, formatFile, []byte(format)); err != nil {
		return r.unwritable(err)
	}
	if err := durable.MakeAll(r.dir, pendingDir, 0o700); err != nil {
		return r.unwritable(err)
	}
	return nil
}

func (r *Root) unwritable(err error) error {
	return fmt.Errorf("root %s cannot be written: %w", r.path, err)
}

// make makes the root's own folder.
func (r *Root) make() error {
	// Mode 0755 lets others read what was published; planes/ is 0700.
	if err := os.Mkdir(r.path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return r.unwritable(err)
	}
	var dir *beneath.Dir
	var err error
	if r.inside == DefaultRoot && r.opts.Root == "" {
		dir, err = r.workspace.Sub(DefaultRoot)
	} else {
		dir, err = beneath.Open(r.path)
	}
	if err != nil {
		return r.unwritable(err)
	}
	return r.take(dir)
}

// fit refuses folders of filesystems that agenthost cannot keep its promises on.
func fit(dir *beneath.Dir) error {
	f, err := dir.OpenFile(".", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := beneath.Storage(f); err != nil {
		return err
	}
	folded, err := beneath.CaseFolded(dir)
	if err != nil {
		return err
	}
	if folded {
		return errors.New("this filesystem does not tell names apart by their case")
	}
	return nil
}

// lockPublish takes the lock under which targets are compared and replaced.
func (r *Root) lockPublish(ctx context.Context) (*os.File, error) {
	f, err := r.Folder().OpenFile(publishLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, r.unwritable(err)
	}
	if err := beneath.Lock(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sessionsOf names the folder of a plane's sessions.
func sessionsOf(plane string) string { return "planes/" + plane + "/sessions" }

func checkPlane(plane string) error {
	if !slices.Contains(Planes(), plane) {
		return fmt.Errorf("%.40q is not a plane: want %s", plane, strings.Join(Planes(), ", "))
	}
	return nil
}
