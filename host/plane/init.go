package plane

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

// Options say what a control plane is made with.
type Options struct {
	By      record.Actor // who makes it
	Version string       // of the program
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
	// Random is where the token comes from; nil is [rand.Reader].
	Random io.Reader
	// Key is that of the host, which seals the ledger of the plane.
	Key func() (*ledger.Key, error)
	// Step, if set, is called with the name of each step before it is done. It is
	// there for tests of crashes.
	Step func(step string)
}

// Init makes the folder at path a control plane ([session.MakeControl]) and gives
// its admin token to show before anything counts: if show fails there is no
// control plane. A crash leaves a folder that a second Init completes, with
// another token.
func Init(path string, o Options, show func(token string) error) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("root %s: %w", path, err)
	}
	b := &builder{opts: o, path: abs}
	return session.MakeControl(abs, b.clean, func(dir *beneath.Dir) error { return b.fill(dir, show) })
}

// builder fills a folder that is to be a control plane.
type builder struct {
	opts Options
	path string
	made []string // folders, the outermost first
}

// registerFolder is that of the register which knows governance.jsonl.
const registerFolder = "planes/ho3/ledger"

// folders are what a control plane begins with, and their modes.
var folders = []struct {
	name string
	perm fs.FileMode
}{
	{"control", 0o700},
	{"ledger", 0o755},
	{"output", 0o755},
	{storeFolder, 0o755},
	{"planes", 0o700},
	{"planes/ho1", 0o700},
	{"planes/ho2", 0o700},
	{"planes/ho3", 0o700},
	{"planes/ho1/installed", 0o700},
	{"planes/ho2/installed", 0o700},
	{"planes/ho3/installed", 0o700},
	{registerFolder, 0o700},
	{"planes/pending", 0o700},
	{"registries", 0o755},
}

func (b *builder) fill(dir *beneath.Dir, show func(token string) error) error {
	for _, f := range folders {
		b.opts.Step("make " + f.name)
		made, err := dir.MkdirAll(f.name, f.perm)
		b.made = append(b.made, made...)
		if err != nil {
			return err
		}
	}
	// control/ may have been there, and have been open to others.
	if err := private(dir, "control"); err != nil {
		return err
	}
	token, err := newToken(b.opts.Random)
	if err != nil {
		return err
	}
	secret := tokenRow(token)
	for _, f := range []struct {
		name    string
		content []byte
		perm    fs.FileMode
	}{
		{lockFile, nil, 0o600},
		{tokenFile, secret, 0o600},
		{trustedFile, trustedKeys(State{}), 0o600},
		{registryFile, RegistryCSV(State{}), 0o644},
	} {
		b.opts.Step("write " + f.name)
		if err := durable.Write(dir, f.name, f.content, f.perm); err != nil {
			return err
		}
	}
	b.opts.Step("write " + governancePath)
	if err := b.record(dir, ledger.Sum(secret)); err != nil {
		return err
	}
	b.opts.Step("sync folders")
	for _, name := range []string{"control", "ledger", "registries", registerFolder, "planes/ho1", "planes/ho2", "planes/ho3", "planes", "."} {
		if err := durable.SyncFolder(dir, name); err != nil {
			return err
		}
	}
	b.opts.Step("show token")
	if err := show(token); err != nil {
		return fmt.Errorf("showing the token: %w", err)
	}
	b.opts.Step("rename FORMAT")
	return nil
}

// record begins governance.jsonl, and has the register know it.
func (b *builder) record(dir *beneath.Dir, token ledger.Hash) error {
	o := record.GovernanceOptions()
	o.Now, o.SyncLater = b.opts.Now, true
	g := book{
		path: filepath.Join(b.path, filepath.FromSlash(governancePath)), name: governancePath, origin: governanceOrigin, options: o,
		random: b.opts.Random, sealer: b.opts.Key, step: b.opts.Step, root: dir, top: b.path, plane: "ho3",
	}
	g.hosts = func() ([]ledger.Verifier, error) {
		key, err := g.key()
		if err != nil {
			return nil, err
		}
		return []ledger.Verifier{key.Verifier()}, nil
	}
	log, err := g.create()
	if err != nil {
		return err
	}
	err = log.commit(record.ControlInit{By: b.opts.By, Agenthost: b.opts.Version, Token: token})
	return errors.Join(err, log.Close())
}

// clean removes what fill made, this time or one that was cut short. Of the
// latter the folders stay.
func (b *builder) clean(dir *beneath.Dir) error {
	for _, name := range []string{lockFile, tokenFile, trustedFile, registryFile, governancePath, registerFolder + "/" + record.RegisterFile} {
		if err := durable.Remove(dir, name); err != nil {
			return err
		}
	}
	names := b.made
	if names == nil {
		for _, f := range folders {
			names = append(names, f.name)
		}
	}
	for n := len(names) - 1; n >= 0; n-- {
		// One that is not empty (ErrExist) is left.
		if err := dir.Remove(names[n]); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	b.made = nil
	return nil
}

// private takes everybody else's rights to a folder away.
func private(dir *beneath.Dir, name string) error {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chmod(0o700)
}
