package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerKeyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "print the verifier key of this host",
		Description: `The host key signs what is recorded here: each process that works on a session
makes a key of its own, and the host key says that it did. Who has the verifier key
that this prints can tell, with agenthost ledger trust, that a ledger is this
host's.
The secret half is made on first use. It lies in host.key in the folder agenthost
of your configuration folder (XDG_CONFIG_HOME, or .config in your home), or in the
folder that ` + hostkey.Variable + ` names: for you alone, not encrypted, and never in a
root, so that who copies a root does not copy the key. Keep a copy of it somewhere
safe. Without it ledgers from before are INTACT BUT SIGNER UNKNOWN, here too, until
its verifier key is trusted; who has it can sign as this host.`,
		Action: p.ledgerKey,
	}
}

func (p *program) ledgerTrustCommand() *cli.Command {
	return &cli.Command{
		Name:      "trust",
		Usage:     "trust the ledgers of another host, or list those that are",
		ArgsUsage: "[KEY]",
		Description: `KEY is the verifier key that agenthost ledger key prints on the other host. Nothing
says who has the other half of a key: get it from whom you trust. From now on what
that host signed is VERIFIED here, and not INTACT BUT SIGNER UNKNOWN.
Without KEY those that are trusted are listed, this host's own key first. They stand
in trusted_hosts, beside the host key: one a line, with what you write behind a #.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "remove", Usage: "trust `HOST` no more: a verifier key, or its first two parts, NAME and hash"},
		},
		Action: p.ledgerTrust,
	}
}

// configFolder is the folder of the host key.
func configFolder() (string, error) {
	dir, err := hostkey.Dir(os.Getenv(hostkey.Variable))
	var wrong *hostkey.Error
	if errors.As(err, &wrong) {
		return "", &failure{message: wrong.What, hint: wrong.Hint, code: exitUsage, err: err}
	}
	return dir, err
}

// configFolders are the folder of the host key, and where it is if no other folder
// is named: that key is no less one because another is used now.
func configFolders() ([]string, error) {
	dir, err := configFolder()
	if err != nil {
		return nil, err
	}
	folders := []string{dir}
	if usual, err := hostkey.Dir(""); err == nil && usual != dir {
		folders = append(folders, usual)
	}
	return folders, nil
}

// withoutKey refuses to make a package of a folder that holds the host key: agents
// would read it, and whoever gets the package.
func withoutKey(folder string) error {
	dirs, err := configFolders()
	if err != nil || !isFolder(folder) {
		return nil // without a folder of keys there is none
	}
	for _, dir := range dirs {
		if liesIn(dir, folder) || liesIn(folder, dir) {
			return usageError(fmt.Sprintf("%s cannot be a package: it holds, or lies in, the folder of the host key, %s", folder, dir), "put the agent in a folder of its own")
		}
	}
	return nil
}

// hostKey is the key of this host, which is made if there is none.
func hostKey() (*ledger.Key, error) {
	dir, err := configFolder()
	if err != nil {
		return nil, err
	}
	key, err := hostkey.Load(dir, rand.Reader)
	return key, keyError(err)
}

// trustedHosts are the keys of the hosts whose ledgers count here, this one's first.
func trustedHosts() ([]ledger.Verifier, error) {
	dir, err := configFolder()
	if err != nil {
		return nil, err
	}
	hosts, err := hostkey.Trusted(dir)
	return hosts, keyError(err)
}

// keyring is hostKey, and the list of those that are trusted, each read once. The
// host's own key counts from the moment it is made.
func keyring(trusted func() ([]ledger.Verifier, error)) (key func() (*ledger.Key, error), hosts func() ([]ledger.Verifier, error)) {
	var own atomic.Pointer[ledger.Key]
	load, list := sync.OnceValues(hostKey), sync.OnceValues(trusted)
	key = func() (*ledger.Key, error) {
		k, err := load()
		if err == nil {
			own.Store(k)
		}
		return k, err
	}
	hosts = func() ([]ledger.Verifier, error) {
		listed, err := list()
		if k := own.Load(); err == nil && k != nil && !slices.ContainsFunc(listed, k.Verifier().Equal) {
			listed = append(slices.Clone(listed), k.Verifier())
		}
		return listed, err
	}
	return key, hosts
}

// keyError gives the user a way out where the host key, or the list of trusted
// hosts, cannot be used; nil if err is.
func keyError(err error) error {
	var (
		f     *failure
		wrong *hostkey.Error
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, hostkey.ErrTwin) && errors.As(err, &wrong):
		return &failure{message: wrong.What, hint: wrong.Hint, code: exitRefused, err: err}
	case errors.As(err, &wrong):
		return &failure{message: wrong.What, hint: wrong.Hint, code: exitHost, err: err}
	}
	return err
}

// keyAnswer is the answer of ledger key --json.
type keyAnswer struct {
	Key  string `json:"key"`
	Name string `json:"name"` // NAME+HASH
	File string `json:"file"` // of the secret half
}

func (p *program) ledgerKey(c *cli.Context) error {
	if err := p.noOperands(c); err != nil {
		return err
	}
	dir, err := configFolder()
	if err != nil {
		return err
	}
	_, missing := hostkey.Existing(dir)
	key, err := hostKey()
	if err != nil {
		return err
	}
	verifier, file := key.Verifier().String(), hostkey.File(dir)
	if p.json {
		return p.term.value(keyAnswer{verifier, archive.KeyName(verifier), file})
	}
	p.term.line("%s", verifier)
	if errors.Is(missing, fs.ErrNotExist) {
		p.term.note("the host key is new, in %s: who has that file signs as this host; keep a copy somewhere safe", file)
	}
	return nil
}

// hostChange is the answer of ledger trust KEY --json.
type hostChange struct {
	Key     string `json:"key"`
	Changed bool   `json:"changed"` // false: it was so before
}

// trustedHost is a key that ledger trust --json lists.
type trustedHost struct {
	Key  string `json:"key"`
	Name string `json:"name"`          // NAME+HASH
	Own  bool   `json:"own,omitempty"` // this host's
}

func (p *program) ledgerTrust(c *cli.Context) error {
	given, err := p.operands(c, 0, 1)
	if err != nil {
		return err
	}
	remove := c.String("remove")
	if c.IsSet("remove") && len(given) > 0 {
		return usageError("ledger trust got a KEY and --remove", "leave one of them out")
	}
	dir, err := configFolder()
	switch {
	case err != nil:
		return err
	case c.IsSet("remove"):
		return p.distrustHost(c, dir, remove)
	case len(given) == 0:
		return p.listHosts(dir)
	}
	host, err := hostkey.Parse(given[0])
	if err != nil {
		return notAHost(err)
	}
	added, err := hostkey.Trust(c.Context, dir, given[0])
	switch {
	case errors.Is(err, hostkey.ErrOwn):
		return p.changedHost(hostChange{host.String(), false}, "this host's own, and always trusted here: %s")
	case err != nil:
		return keyError(err)
	case added:
		return p.changedHost(hostChange{host.String(), true}, "trusted from now on: %s")
	}
	return p.changedHost(hostChange{host.String(), false}, "trusted already: %s")
}

// notAHost is a mistake in a key that was given.
func notAHost(err error) error {
	var wrong *hostkey.Error
	if errors.As(err, &wrong) {
		return usageError(wrong.What, wrong.Hint)
	}
	return err
}

func (p *program) distrustHost(c *cli.Context, dir, given string) error {
	removed, err := hostkey.Distrust(c.Context, dir, given)
	switch {
	case errors.Is(err, hostkey.ErrOwn):
		return usageError(given+" is the key of this host itself, which is always trusted here", "agenthost ledger trust lists those that can be removed")
	case err != nil:
		return keyError(err)
	case !removed.IsZero():
		return p.changedHost(hostChange{removed.String(), true}, "trusted no more: %s")
	}
	host, err := hostkey.Parse(given)
	switch {
	case strings.Contains(given, "PRIVATE+KEY"): // which is not shown once more
		return notAHost(err)
	case err != nil:
		return usageError(given+" is neither a verifier key nor the name and hash of one that is trusted", "agenthost ledger trust lists those that are")
	}
	return p.changedHost(hostChange{host.String(), false}, "not trusted before either: %s")
}

func (p *program) changedHost(change hostChange, text string) error {
	if p.json {
		return p.term.value(change)
	}
	p.term.line(text, change.Key)
	return nil
}

func (p *program) listHosts(dir string) error {
	hosts, err := hostkey.Trusted(dir)
	if err != nil {
		return keyError(err)
	}
	own := ""
	if key, err := hostkey.Existing(dir); err == nil {
		own = key.String()
	}
	list := []trustedHost{}
	for _, h := range hosts {
		list = append(list, trustedHost{h.String(), archive.KeyName(h.String()), h.String() == own})
	}
	if p.json {
		return p.term.value(map[string]any{"hosts": list})
	}
	others := 0
	for _, h := range list {
		if h.Own {
			p.term.line("%s # this host", h.Key)
			continue
		}
		p.term.line("%s", h.Key)
		others++
	}
	if others == 0 {
		p.term.note("no other host is trusted here: agenthost ledger trust KEY")
	}
	return nil
}

// otherHosts are the keys that can be removed; none where the list cannot be read.
func otherHosts() (keys []string) {
	dir, err := configFolder()
	if err != nil {
		return nil
	}
	hosts, err := hostkey.Trusted(dir)
	if err != nil {
		return nil
	}
	own, _ := hostkey.Existing(dir) // or there is none
	for _, h := range hosts {
		if own == nil || own.String() != h.String() {
			keys = append(keys, h.String())
		}
	}
	return keys
}
